//! zstd, unzstd and zstdcat.

use crate::compare::Case;

pub const CASES: &[Case] = &[
    ("zstd", "zstd -q words && ls && zstdcat words.zst && rm words && unzstd -q words.zst && cat words"),
    (
        "zstd",
        "zstd -qc words > w; /usr/bin/zstd -dqc w; /usr/bin/zstd -qc words | zstd -dc | cmp - words && echo same; zstd -q --rm words; ls",
    ),
    (
        "zstd",
        "zstd -q < words | unzstd -q; (zstd -qc words; zstd -qc numbers) | zstdcat; zstd -q1c tree/big | zstd -dqc | cmp - tree/big && echo same",
    ),
    (
        "zstd",
        "zstd -qc words > w.zst; head -c 30 w.zst > cut.zst; zstd -dq cut.zst 2>/dev/null; echo $?; ls cut 2>/dev/null; zstd -tq cut.zst 2>/dev/null; echo $?; zstd -tq w.zst; echo $?",
    ),
    (
        "zstd",
        "zstd -q words; zstd -q words 2>/dev/null </dev/null; echo $?; zstd -qf words; echo $?; zstd -dq words.zst 2>/dev/null </dev/null; echo $?",
    ),
    (
        "zstd",
        "zstd -dq numbers 2>/dev/null; echo $?; zstd -dqc < numbers 2>/dev/null; echo $?; zstdcat -f numbers; zstd -q nowhere 2>/dev/null; echo $?",
    ),
    (
        "zstd",
        "zstd -q words -o x; zstd -dqc x | head -1; zstd -q tree/a.txt tree/b.log && ls tree; zstd -dq tree/a.txt.zst -o y && cat y",
    ),
    (
        "zstd",
        "chmod 640 words; touch -d 2001-02-03T04:05:06Z words; zstd -q words; stat -c '%a %Y' words.zst; zstd -q words -c | zstd -dqc | wc -c",
    ),
    ("zstd", "zstd -q words -o x.tzst; unzstd -q x.tzst; ls; : > e; zstd -q e; unzstd -qc e.zst; echo $?"),
    (
        "zstd",
        "head -c 9000000 /dev/urandom > r; zstd -q1 r -o r.zst; /usr/bin/zstd -tq r.zst && zstd -dqc r.zst | cmp - r && echo same; yes 'some text' | head -c 20000000 > r; zstd -qf1 r; /usr/bin/zstd -dqc r.zst | cmp - r && test $(wc -c < r.zst) -lt 20000 && echo small",
    ),
    ("zstd", "zstd -r -q tree/sub; find tree/sub | sort"),
];

/// What our encoder cannot do it says.
pub const REFUSED: &[&str] = &["zstd -19 words", "zstd -3 words", "zstd --ultra words", "zstd -T0 words"];
