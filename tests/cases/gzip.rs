//! gzip, gunzip and zcat.

use crate::compare::Case;

pub const CASES: &[Case] = &[
    ("gzip", "gzip words && ls && gunzip words.gz && ls && cat words"),
    ("gzip", "gzip -k words numbers && ls && gzip -dc words.gz numbers.gz"),
    ("gzip", "gzip -c words | gzip -dc | cmp - words && echo same"),
    (
        "gzip",
        "for l in 1 2 3 4 5 6 7 8 9; do gzip -$l < tree/big | gunzip | cmp - tree/big || echo differ; done; gzip --best --fast < words | zcat",
    ),
    // What we write the host reads, and the other way round.
    (
        "gzip",
        "gzip -c words > a.gz; /usr/bin/gzip -dc a.gz; /usr/bin/gzip -tv a.gz; /usr/bin/gzip -c words > b.gz; gzip -dc b.gz; gzip -t b.gz",
    ),
    ("gzip", "(gzip -c words; gzip -c numbers) > two.gz; zcat two.gz; gzip -tv two.gz 2>&1"),
    (
        "gzip",
        "gzip words; (cat words.gz; echo garbage) > g.gz; gzip -dc g.gz; echo $?; gzip -t g.gz; echo $?; gunzip g.gz; echo $?; ls",
    ),
    ("gzip", "gzip words; (cat words.gz; head -c 1000 /dev/zero) > g.gz; gzip -dc g.gz; echo $?"),
    ("gzip", "gzip words; head -c 40 words.gz > cut.gz; gzip -t cut.gz; echo $?; gunzip cut.gz; echo $?; ls"),
    ("gzip", "gzip -d < words; echo $?; gzip -d < /dev/null; echo $?"),
    ("gzip", "gzip words; echo other > words; gunzip words.gz; echo $?; cat words; gunzip -f words.gz; cat words"),
    (
        "gzip",
        "gzip words; gzip words.gz; echo $?; gzip -d numbers; echo $?; gzip tree; echo $?; gzip nowhere; echo $?; ls",
    ),
    ("gzip", "gzip tree/link; echo $?; gzip tree/hard; echo $?; gzip -f tree/hard; echo $?; ls tree"),
    ("gzip", "gzip -r tree/sub; echo $?; find tree/sub | sort; gunzip -r tree; find tree/sub | sort"),
    (
        "gzip",
        "chmod 640 words; touch -d 2001-02-03T04:05:06Z words; gzip words; stat -c '%a %Y' words.gz; gunzip words.gz; stat -c '%a %Y' words",
    ),
    (
        "gzip",
        "touch -d 2001-02-03T04:05:06Z words; gzip words; touch words.gz; mv words.gz other.gz; gunzip -N other.gz; ls; stat -c %Y words",
    ),
    ("gzip", "touch -d 2001-02-03T04:05:06Z words; gzip -n words; mv words.gz other.gz; gunzip -N other.gz; ls"),
    ("gzip", "gzip -n words; mv words.gz x.tgz; gunzip x.tgz; ls; gzip -S .z numbers; ls; gunzip -S .z numbers.z; ls"),
    ("gzip", "gzip -S .foo words; ls; gunzip -S .foo words.foo; ls"),
    ("gzip", "zcat -f words; gzip -k words; zcat words; zcat -f words.gz words"),
    ("gzip", "gzip -k words; gzip -kq words; echo $?; gzip -kf words; echo $?"),
    ("gzip", "gzip -l words; echo $?; gzip tree/a.txt; gzip -q -l tree/a.txt.gz | wc -w; echo -n | gzip -l"),
    ("gzip", "touch -d 2001-02-03T04:05:06Z numbers; gzip numbers; TZ=UTC gzip -lv numbers.gz | cut -c 1-28,47-"),
    ("gzip", "gzip -kv words 2>&1 | cut -c 1-7; gzip -tv words.gz 2>&1; gzip -dv < words.gz 2>/dev/null"),
    ("gzip", "gzip -Z words 2>/dev/null; echo $?"),
    ("gzip", "printf x >> binary; gzip binary; gunzip binary.gz; cmp binary binary && od -c binary | head -2"),
];
