#!/vm/busybox sh
# The first process of a guest. It mounts what programs expect, then takes orders from the host on
# the first port: a line, and for some the bytes it announces. Streams leave by two more ports.
#   run SIZE            a script follows; answered by "done STATUS" when all its output has left
#   put MODE SIZE PATH  a file follows; answered by "done 0"
# The end of the orders is the end of the guest.
busybox=/vm/busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux
$busybox mount -t devtmpfs dev /dev
exec </dev/null >/dev/console 2>&1
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tracefs trace /sys/kernel/tracing
mount -t debugfs debug /sys/kernel/debug
mount -t cgroup2 cgroup /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
hostname -F /etc/hostname
ifconfig lo 127.0.0.1 up
# Applets where the packages brought no program of the name.
$busybox --install -s /usr/bin 2>/dev/null
cd /tmp

if grep -q xol.shell /proc/cmdline; then
    stty -F /dev/console sane
    setsid cttyhack bash -i
    poweroff -f
fi

# Which of them needs which differs from kernel to kernel, so those that fail are tried again.
for pass in 1 2 3; do
    for module in /vm/modules/*; do
        test -e "$module" && insmod "$module" 2>/dev/null && rm "$module"
    done
done
tries=0
until test -c /dev/vport0p3; do
    tries=$((tries + 1))
    if test $tries -gt 500; then
        echo "xol-vm: this kernel has no virtio console for the host to talk to"
        poweroff -f
    fi
    usleep 10000
done
exec 3<>/dev/vport0p1
mkfifo /vm/out /vm/err

# What the command left running, all but this process and the two that carry the streams: they would
# keep the streams open.
sweep() {
    for process in /proc/[0-9]*; do
        case ${process#/proc/} in
        1 | $1 | $2) ;;
        *) kill -9 ${process#/proc/} 2>/dev/null ;;
        esac
    done
}

echo ready >&3
while read -r order size path <&3; do
    status=0
    case $order in
    run)
        head -c "$size" <&3 >/vm/script
        # A pipe in between: a port can be opened only once, and writes to it may be short.
        cat </vm/out >/dev/vport0p2 3>&- &
        out=$!
        cat </vm/err >/dev/vport0p3 3>&- &
        err=$!
        # In the foreground: a shell's background processes have SIGINT ignored. In a shell of its
        # own: what this one says of how it ended belongs on the console.
        (exec setsid dash /vm/script </dev/null >/vm/out 2>/vm/err 3>&-)
        status=$?
        sweep $out $err
        wait $out $err
        ;;
    put)
        head -c "$size" <&3 >"${path#* }"
        status=$?
        chmod "${path%% *}" "${path#* }"
        ;;
    esac
    echo "done $status" >&3
done
poweroff -f
