//! hexdump and xxd.

use crate::compare::Case;

pub const HEXDUMP: &[Case] = &[
    ("hexdump", "hexdump words; hexdump binary; hexdump < /dev/null; hexdump tree/big"),
    ("hexdump", "hexdump -C words; hexdump -C tree/big; hexdump -Cv tree/big | tail -3; hexdump -C words numbers"),
    (
        "hexdump",
        "hexdump -C -n 20 words; hexdump -C -s 10 -n 0x10 words; hexdump -s 5 words; hexdump -C -n 1 nowhere words 2>/dev/null; echo $?",
    ),
    ("hexdump", "hexdump nowhere 2>/dev/null; echo $?; printf abc | hexdump; head -c 4096 /bin/sh | hexdump -C"),
];

pub const XXD: &[Case] = &[
    ("xxd", "xxd words; xxd binary; xxd < /dev/null; xxd -u -l 40 utf8"),
    (
        "xxd",
        "xxd -p words; xxd -p -c 8 words; xxd -g 1 words; xxd -g 4 -c 12 words; xxd -g 0 words; xxd -s 5 -l 7 words",
    ),
    (
        "xxd",
        "xxd words | xxd -r | cmp - words && xxd -p words | xxd -r -p | cmp - words && echo same; head -c 3000 /bin/sh | xxd",
    ),
];
