//! tar: ours and GNU's read what the other writes, list it alike and unpack it alike.

use crate::compare::Case;

pub const CASES: &[Case] = &[
    ("tar", "tar cf a.tar words numbers && tar tf a.tar && mkdir o && tar xf a.tar -C o && cat o/words o/numbers"),
    (
        "tar",
        "tar --sort=name -cf a.tar tree && tar tf a.tar && /usr/bin/tar tf a.tar && /usr/bin/tar --compare -f a.tar",
    ),
    (
        "tar",
        "touch -hd @1000 tree/* tree/*/* tree/*/*/* tree/.h* tree; /usr/bin/tar --sort=name -cf a.tar tree && mkdir o && tar xf a.tar -C o && find o -printf '%p %y %m %l %T@ %n\\n' | grep -v '^o ' | cut -d. -f1-2 | sort",
    ),
    (
        "tar",
        "tar cf a.tar tree && mkdir o && /usr/bin/tar xf a.tar -C o && diff -r --no-dereference tree o/tree && echo same",
    ),
    // What is listed, long.
    (
        "tar",
        "touch -hd 2001-02-03T04:05:06Z tree/* tree/*/* tree/*/*/* tree/.h* tree; chown 12345:54321 words; touch -d 2001-02-03T04:05:06Z words; tar --sort=name -cf a.tar tree words; export TZ=UTC; tar tvf a.tar; /usr/bin/tar tvf a.tar; tar --numeric-owner -tvf a.tar | head -2",
    ),
    (
        "tar",
        "mkfifo f; mknod c c 1 3; mknod b b 7 300; touch -d @0 f c b; chmod 4755 words; chmod 1777 tree; touch -d @0 words tree; export TZ=UTC; tar --no-recursion -cf a.tar f c b words tree; tar tvf a.tar; mkdir o; tar xpf a.tar -C o; find o/* -printf '%p %y %m %T@\\n' | sort; ls -l o/c | cut -c 1-24",
    ),
    (
        "tar",
        "tar cvf a.tar tree/a.txt tree/hard; tar cvf - words 2>&1 >/dev/null; tar xvf a.tar; tar xvOf a.tar 2>&1; tar xOf a.tar tree/a.txt",
    ),
    // Compression.
    (
        "tar gzip",
        "tar czf a.tgz words; gzip -t a.tgz && tar tzf a.tgz && tar tf a.tgz && tar xzOf a.tgz | cmp - words && echo same",
    ),
    (
        "tar zstd",
        "tar --zstd -cf a.tar.zst words tree; zstd -qt a.tar.zst && tar --zstd -tf a.tar.zst | sort && tar tf a.tar.zst | wc -l",
    ),
    (
        "tar gzip zstd",
        "tar caf a.tar.gz words; gzip -t a.tar.gz; tar caf a.tzst words; zstd -qt a.tzst; tar caf a.tar words; tar tf a.tar; tar -xOaf a.tar.gz words | head -1",
    ),
    ("tar", "tar czf - words | tar tzf -; tar cf - tree | (mkdir o; cd o; tar xf -; ls tree)"),
    (
        "tar",
        "tar tzf words 2>/dev/null; echo $?; tar tf words 2>/dev/null; echo $?; tar tf nowhere 2>/dev/null; echo $?; : > e; tar tf e; echo $?",
    ),
    // Names.
    (
        "tar",
        "n=$(printf 'x%.0s' $(seq 1 120)); mkdir -p $n/$n/$n; echo deep > $n/$n/$n/$n; ln -s $n/$n/$n l; for f in gnu pax; do tar --format=$f -cf $f.tar $n l; tar tf $f.tar; /usr/bin/tar tf $f.tar; mkdir $f; tar xf $f.tar -C $f; cat $f/$n/$n/$n/$n; readlink $f/l; done",
    ),
    (
        "tar",
        "n=$(printf 'x%.0s' $(seq 1 120)); touch $n; tar --format=ustar -cf a.tar $n words 2>/dev/null; echo $?; tar tf a.tar; mkdir -p $n.d/sub; touch $n.d/sub/f; tar --format=ustar -cf b.tar $n.d; /usr/bin/tar tf b.tar",
    ),
    (
        "tar",
        "mkdir d; touch \"d/new\nline\" \"d/back\\\\slash\" d/tab\"\t\"x d/ü \"d/$(printf '\\377')\"; tar --sort=name -cf a.tar d; tar tf a.tar; /usr/bin/tar tf a.tar; mkdir o; tar xf a.tar -C o; ls o/d | od -c",
    ),
    (
        "tar",
        "tar cf a.tar $PWD/words 2>/dev/null; tar tf a.tar | sed s,^.*/,,; tar tf a.tar | cut -c 1 | tr -d '/' | wc -c; tar cPf b.tar $PWD/words; tar tf b.tar 2>/dev/null | cut -c 1",
    ),
    ("tar", "cd tree; tar cf ../a.tar ../words sub/../../numbers 2>/dev/null; echo $?; tar tf ../a.tar"),
    (
        "tar",
        "tar cf a.tar ./words ./tree/; tar tf a.tar | sort; tar xf a.tar ./words; echo $?; tar xf a.tar words 2>/dev/null; echo $?",
    ),
    ("tar", "tar cf a.tar -C tree a.txt -C sub c.txt; tar tf a.tar; tar cf b.tar words -C tree/sub deep; tar tf b.tar"),
    (
        "tar",
        "printf 'words\\ntree/a.txt\\n' > l; tar cf a.tar -T l numbers; tar tf a.tar; printf 'words\\0tree/sub' | tar cf b.tar --null -T -; tar tf b.tar | sort; tar xvf b.tar -T l 2>/dev/null; echo $?",
    ),
    (
        "tar",
        "tar --sort=name --exclude='*.txt' -cf a.tar tree; tar tf a.tar; tar cf b.tar --exclude=sub --exclude=tree/big --sort=name tree; tar tf b.tar; printf '*.log\\ndeep\\n' > x; tar cf c.tar -X x --sort=name tree; tar tf c.tar; tar tf c.tar --exclude='*a*'",
    ),
    (
        "tar",
        "tar cf a.tar --sort=name tree; tar tf a.tar tree/sub; tar tf a.tar tree/sub/ tree/a.txt; tar tf a.tar nothing 2>/dev/null; echo $?; tar tf a.tar --wildcards '*.txt' 'tree/s*p'",
    ),
    (
        "tar",
        "tar cf a.tar tree; mkdir o; tar xf a.tar -C o --strip-components=1; find o | sort; mkdir p; tar xf a.tar -C p --strip-components=2 --exclude=hard; find p | sort",
    ),
    // Links.
    (
        "tar",
        "tar cf a.tar tree/a.txt tree/hard; mkdir o; tar xf a.tar -C o; stat -c %h o/tree/a.txt; mkdir p; tar xf a.tar -C p --strip-components=1; stat -c %h p/hard",
    ),
    (
        "tar",
        "tar chf a.tar --sort=name tree/link tree/dirlink; tar tf a.tar; mkdir o; tar xf a.tar -C o; stat -c %F o/tree/link o/tree/dirlink; tar chf b.tar tree 2>/dev/null; echo $?",
    ),
    // What is there already.
    (
        "tar",
        "tar cf a.tar words; echo mine > words; tar xkf a.tar 2>/dev/null; echo $?; cat words; tar xf a.tar --skip-old-files; echo $?; cat words; tar xf a.tar --keep-newer-files 2>/dev/null; echo $?; cat words; tar xf a.tar; head -1 words",
    ),
    (
        "tar",
        "tar cf a.tar words; echo mine > words; ln words other; tar xf a.tar --overwrite; head -1 other; ln -f other words; echo mine > words; tar xf a.tar; cat other",
    ),
    (
        "tar",
        "tar cf a.tar words; rm words; ln -s numbers words; tar xf a.tar; cat numbers | wc -l; head -1 words; stat -c %F words",
    ),
    (
        "tar",
        "tar cf a.tar words; rm words; mkdir words; tar xf a.tar; echo $?; stat -c %F words; rm words; mkdir -p words/x; tar xf a.tar 2>/dev/null; echo $?",
    ),
    (
        "tar",
        "chmod 750 tree; touch -d @1 tree; tar cf a.tar tree; chmod 700 tree; touch tree; tar xf a.tar; stat -c '%a %Y' tree; mkdir o; tar xmf a.tar -C o; test $(stat -c %Y o/tree) -gt 1 && echo now",
    ),
    (
        "tar",
        "mkdir d; echo x > d/f; chmod 555 d; tar cf a.tar d; mkdir o; tar xf a.tar -C o; cat o/d/f; stat -c %a o/d",
    ),
    (
        "tar",
        "chmod 666 words; umask 027; tar cf a.tar words; mkdir o p; tar xf a.tar -C o; tar xf a.tar -C p --no-same-permissions; stat -c %a o/words p/words; stat -c %a a.tar",
    ),
    (
        "tar",
        "chown 1234:4321 words; tar cf a.tar words; mkdir o p q; tar xf a.tar -C o; tar xf a.tar -C p --no-same-owner; tar cf b.tar --owner=root --group=nogroup:77 words; tar xf b.tar -C q; stat -c '%u %g' o/words p/words q/words; tar tvf b.tar | cut -d' ' -f2; tar xf b.tar -C p --numeric-owner; stat -c %g p/words",
    ),
    // Formats and times.
    (
        "tar",
        "touch -d '2001-02-03 04:05:06.123456789 UTC' words; for f in gnu pax ustar; do tar --format=$f -cf a.tar words; mkdir $f; tar xf a.tar -C $f; stat -c %y $f/words | cut -c 1-29; done",
    ),
    (
        "tar",
        "touch -d @-5.5 words; for f in gnu pax; do tar --format=$f -cf a.tar words; mkdir $f; tar xf a.tar -C $f; stat -c %.9Y $f/words; done",
    ),
    (
        "tar",
        "chown 3000000:4000000 words; for f in gnu pax; do tar --format=$f -cf a.tar words; /usr/bin/tar tvf a.tar | cut -d' ' -f 1,2; tar tvf a.tar | cut -d' ' -f 1,2; done",
    ),
    (
        "tar",
        "touch -d @7 words; tar cf a.tar --mtime=@1000 --format=pax words numbers; TZ=UTC tar tvf a.tar | cut -c 37-; tar cf b.tar --mtime='2001-02-03 04:05:06Z' words; TZ=UTC tar tvf b.tar | cut -c 37-; tar cf c.tar --mtime=./words numbers; TZ=UTC tar tvf c.tar | cut -c 37-",
    ),
    (
        "tar",
        "touch -d @7 words; tar --format=gnu -cf a.tar --owner=root --group=root words; md5sum < a.tar; touch -d @7 tree tree/sub tree/sub/* tree/sub/deep/*; tar --format=gnu --sort=name --owner=:0 --group=:0 -cf b.tar tree/sub; wc -c < b.tar",
    ),
    (
        "tar",
        "truncate -s 10M s; printf x | dd of=s bs=1 seek=5000000 conv=notrunc 2>/dev/null; for f in gnu pax; do /usr/bin/tar --format=$f -cSf a.tar s; rm -rf o; mkdir o; tar xf a.tar -C o; cmp s o/s && echo same; test $(du -k o/s | cut -f1) -lt 100 && echo holes; tar tvf a.tar | cut -c 1-32; tar xOf a.tar | cmp - s; done",
    ),
    (
        "tar",
        "/usr/bin/tar --format=pax --sparse-version=0.1 -cSf a.tar words; truncate -s 1M s; /usr/bin/tar --format=pax --sparse-version=0.0 -cSf b.tar s; mkdir o; tar xf a.tar -C o; tar xf b.tar -C o; cmp words o/words; cmp s o/s && echo same",
    ),
    (
        "tar",
        "touch a; python3 -c 'import os; os.setxattr(\"a\", \"user.k\", b\"v\\n\")' 2>/dev/null || exit 0; tar --xattrs -cf a.tar a; mkdir o p; tar xf a.tar -C o; /usr/bin/tar --xattrs -xf a.tar -C p; tar --xattrs -xf a.tar -C o; python3 -c 'import os; print([os.getxattr(d + \"/a\", \"user.k\") for d in \"op\"])'",
    ),
    // More at the end.
    (
        "tar",
        "tar cf a.tar words; tar rf a.tar numbers tree/sub/deep; tar tf a.tar; /usr/bin/tar tf a.tar; tar rf new.tar words; tar tf new.tar; wc -c < a.tar",
    ),
    (
        "tar",
        "touch -d @1000 words numbers; tar cf a.tar words numbers; touch -d @2000 words; tar uf a.tar words numbers; tar tf a.tar; rm words; tar xf a.tar; stat -c %Y words",
    ),
    (
        "tar gzip",
        "tar czf a.tgz words; tar rf a.tgz numbers 2>/dev/null; echo $?; tar rzf a.tgz numbers 2>/dev/null; echo $?; gzip -t a.tgz && echo whole",
    ),
    // Trouble.
    (
        "tar",
        "tar cf a.tar words nothing numbers 2>/dev/null; echo $?; tar tf a.tar; tar cf b.tar 2>/dev/null; echo $?; ls b.tar 2>/dev/null; tar xf a.tar -C nowhere 2>/dev/null; echo $?",
    ),
    (
        "tar",
        "tar cf a.tar tree/big; head -c 3000 a.tar > cut.tar; mkdir o; tar xf cut.tar -C o 2>/dev/null; echo $?; tar tf cut.tar >/dev/null 2>&1; echo $?; head -c 700 a.tar | tar tf - 2>/dev/null; echo $?",
    ),
    (
        "tar",
        "mkdir d; cp words d; cd d; tar cf self.tar . ; echo $?; tar tf self.tar | sort; tar cf self.tar ./words; tar tf self.tar",
    ),
    (
        "tar",
        "tar -xcf a 2>/dev/null; echo $?; tar 2>/dev/null; echo $?; tar -tf words --frobnicate 2>/dev/null; test $? -ne 0 && echo refused",
    ),
    (
        "tar",
        "tar cf /dev/stdout words > a.tar; tar tf a.tar; tar cf /dev/stdout words | tar tf -; tar cf a.tar words; ln -s a.tar l; tar cf l numbers; tar tf a.tar; stat -c %F l",
    ),
    (
        "tar",
        "tar cf /dev/null words; echo $?; tar cvf /dev/null tree/sub/deep; mkfifo p; tar tf p > o & tar cf p words; wait; cat o",
    ),
];
