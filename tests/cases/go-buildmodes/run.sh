#!/bin/bash
# Stripped Go programs of several kinds: one that can be loaded anywhere, and one that another linker has put together.
# Right: functions, methods and generic functions are found by Go's own names, in whatever kind, as `xol list` writes them.
. "$(dirname "$0")/../lib.sh"
command -v go >/dev/null || { echo "no case: no go"; exit 99; }
export GOCACHE=$PWD/cache GO111MODULE=off GOFLAGS=
for mode in "-ldflags=-s" "-buildmode=pie -ldflags=-s"; do
  go build $mode -o p p.go || exit 99
  strip p 2>/dev/null
  control "135 0" bash -c "./p 2>&1"
  "$XOL" list ./p 'main.*' >list 2>&1
  has "$mode: xol list has the method" list 'main\.\(\*number\)\.Add'
  for name in main.add 'main.(*number).Add' 'main.twice[...]'; do
    rm -f counts
    timeout 20 "$XOL" count --format json -o counts "./p:$name" -- ./p >out 2>err
    n=$(hits counts . 2>/dev/null)
    [ "$n" = 10 ] && ok "$mode, $name" || bad "$mode, $name: ${n:-none}, not 10; $(tail -1 err)"
  done
done
done_
