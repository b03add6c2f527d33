#!/bin/bash
# Right: a NULL string, one that cannot be read, one that is cut and one that is not UTF-8 are four things, in JSON and in
# text; only the bits of a small type count; a value without a type is shown in both ways; void has none; no signature is (…).
. "$(dirname "$0")/../lib.sh"
gcc -O1 -o p p.c || exit 99
control "done 0" ./p
probe='text(n: i32, s: str)'
timeout 20 "$XOL" trace --format json -o json "$probe" -- ./p >/dev/null 2>err
args() { python3 -c 'import json, sys
for e in map(json.loads, open("json")):
    a = e["args"]
    if a.get("n") == int(sys.argv[1]): s = a["s"]; print(json.dumps(s) if not isinstance(s, dict) or "str" not in s else f"{len(s[chr(115)+chr(116)+chr(114)])} {s.get(chr(99)+chr(117)+chr(116))}")' "$1"; }
eq "NULL" null "$(args 1)"
eq "unreadable" '{"unreadable": 16}' "$(args 2)"
has "a page that the program itself cannot read" json '"n":6,"s":\{"unreadable":'
eq "cut" '256 True' "$(args 3)"
eq "not UTF-8" '{"bytes": "636166e9"}' "$(args 4)"
eq "UTF-8" '"caf\u00e9 \"x\"\n"' "$(args 5)"
has "the thread's name" json '"comm":"p"'
timeout 20 "$XOL" trace -o lines "$probe" -- ./p >/dev/null 2>err
has "NULL in text" lines 'n: 1, s: NULL\)'
has "unreadable in text" lines 'n: 2, s: 0x10 \(unreadable\)\)'
has "cut in text" lines 'a"…\)'
has "not UTF-8 in text" lines 's: "caf\\xe9"\)'
for filter in 's == NULL=1' 's != NULL=5' 's ~ "caf*"=2' '!(s ~ "caf*")=2'; do
  timeout 20 "$XOL" count --format json -o counts --where "${filter%=*}" "$probe" -- ./p >/dev/null 2>err
  eq "calls with ${filter%=*}" "${filter##*=}" "$(hits counts text)"
done
has "what could not be compared is missed" counts '"missed":2'
for strategy in boost jump; do
  timeout 20 "$XOL" trace --strategy $strategy -o lines 'small(c: i8, b: bool, s: i16, u: u8) -> i8' return:./p:minus \
    'far(n: i64) -> void' -- ./p >/dev/null 2>err
  has "$strategy, small types" lines 'small.c: -2, b: true, s: -32768, u: 128. -> 127'
  has "$strategy, no type" lines 'minus.…. -> 0xffffffff \(4294967295, as i32 -1\)'
  has "$strategy, void" lines 'far.n: -2. -> void'
done
done_
