#!/bin/bash
# The debug files of a stripped program are in a folder that the user names, by build-id or by file name.
# Right: its functions are found. A debug file of another build is not taken, and what is missing is said.
. "$(dirname "$0")/../lib.sh"
gcc -O1 -g -Wl,--build-id -o full p.c && gcc -O1 -g -Wl,--build-id=none -o without p.c || exit 99
mkdir -p store flat
for program in full without; do
  objcopy --only-keep-debug $program $program.debug
  objcopy --strip-all --add-gnu-debuglink=$program.debug $program $program.stripped
  mv $program.debug flat/
done
id=$(readelf -n full | awk '/Build ID/ { print $3 }')
mkdir -p store/.build-id/${id:0:2} && cp flat/full.debug store/.build-id/${id:0:2}/${id:2}.debug
control "10 0" ./full.stripped
try() { # try WHAT FOLDER PROGRAM
  rm -f counts
  eq "$1, output" "10 0" "$(timeout 20 "$XOL" count --debug-dir "$2" --format json -o counts "./$3:local" -- ./$3 2>err) $?"
  eq "$1, hits" 10 "$(hits counts . 2>/dev/null)"
}
try "by build-id" store full.stripped
try "by the link's name, with a build-id" flat full.stripped
try "by the link's name and checksum" flat without.stripped
"$XOL" list --debug-dir store ./full.stripped local >list 2>&1
has "xol list has it" list 'local'
"$XOL" list flat/full.debug local >list 2>&1
has "xol list of the debug file has it" list 'local'
"$XOL" plan flat/full.debug local >plan 2>&1
has "xol plan of the debug file says what it is" plan 'debug file'

echo "int other = 1;" >>p.c
gcc -O0 -g -Wl,--build-id=none -o another p.c && objcopy --only-keep-debug another flat/without.debug
timeout 20 "$XOL" count --debug-dir flat "./without.stripped:local" -- ./without.stripped >out 2>err
eq "a debug file of another build, status" 125 $?
has "a debug file of another build: what is missing is said" err 'stripped.*--debug-dir'
done_
