//! `ctr build`: what a Containerfile makes, what is found again, and what is left of a build that fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::json;

use super::{Engine, text};

/// A context with these files.
fn context(engine: &Engine, files: &[(&str, &str)]) -> PathBuf {
    let dir = engine.dir.path().join("context");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    for (name, content) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn build(engine: &Engine, dir: &Path, options: &[&str]) -> Output {
    engine.ctr(&[&["build", "--network", "none"], options, &[dir.to_str().unwrap()]].concat())
}

/// Build with a Containerfile in the context, which must succeed; what was told.
fn built(engine: &Engine, dir: &Path, file: &str, options: &[&str]) -> String {
    fs::write(dir.join("Dockerfile"), file).unwrap();
    let output = build(engine, dir, &[&["-t", "built"], options].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stderr)
}

/// Build, which must fail; what was said.
fn fails(engine: &Engine, dir: &Path, file: &str, options: &[&str]) -> String {
    fs::write(dir.join("Dockerfile"), file).unwrap();
    let output = build(engine, dir, options);
    assert_eq!(output.status.code(), Some(1), "{file}: {}", text(&output.stderr));
    text(&output.stderr)
}

/// A script in the image that was built.
fn sh(engine: &Engine, script: &str) -> String {
    let output =
        engine.ctr(&["run", "--rm", "--network", "none", "--entrypoint", "sh", "--user", "0", "built", "-c", script]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// The document of an image.
fn document(engine: &Engine, id: &str) -> serde_json::Value {
    let hex = id.trim().trim_start_matches("sha256:");
    let blob = engine.dir.path().join("state/images/blobs").join(hex);
    serde_json::from_slice(&fs::read(blob).unwrap()).unwrap()
}

fn quiet(engine: &Engine, dir: &Path, options: &[&str]) -> String {
    let output = build(engine, dir, &[&["-q"], options].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "nothing but the id is told");
    text(&output.stdout).trim().to_owned()
}

const ALL: &str = r#"# syntax=docker/dockerfile:1
ARG BASE=busybox
FROM ${BASE} AS first
ARG VERSION=1 \
    UNUSED
ENV APP=/app NAME="a b" OTHER=$VERSION
LABEL org.example.version=$VERSION
RUN echo "made by $VERSION" > /made && stat -c %a /tmp
WORKDIR ${APP}
COPY a.txt sub ./
COPY --chown=user --chmod=640 a.txt owned/
COPY <<EOF <<"RAW" /inline/
version $VERSION
EOF
version $VERSION
RAW
RUN <<EOF
set -e
cat a.txt b.txt > both
EOF
USER user
EXPOSE 80 8000-8001/udp
VOLUME /data
STOPSIGNAL SIGINT
SHELL ["/bin/sh", "-e", "-c"]
HEALTHCHECK --interval=5s --retries=2 CMD test -e /made
ONBUILD RUN echo built on
MAINTAINER someone
ENTRYPOINT ["sh", "-c"]
CMD ["cat /made"]
"#;

#[test]
fn an_image_of_all_instructions() {
    let Some(engine) = Engine::new() else { return };
    let dir = context(&engine, &[("a.txt", "A\n"), ("sub/b.txt", "B\n")]);
    let options = ["--build-arg", "VERSION=7", "--label", "x=y"];
    let told = built(&engine, &dir, ALL, &options);
    for line in [
        "#1 [internal] load build definition from Dockerfile",
        "] RUN echo \"made by $VERSION\"",
        "naming to docker.io/library/built:latest",
    ] {
        assert!(told.contains(line), "no {line:?} in {told}");
    }
    let output = engine.ctr(&["run", "--rm", "--network", "none", "built"]);
    assert_eq!(text(&output.stdout), "made by 7\n", "{}", text(&output.stderr));
    assert_eq!(sh(&engine, "cat both; cat /inline/EOF /inline/RAW"), "A\nB\nversion 7\nversion $VERSION\n");
    let owners = sh(&engine, "stat -c '%u:%g %a' owned owned/a.txt a.txt");
    assert_eq!(owners, "1000:1000 755\n1000:1000 640\n0:0 644\n");
    let document = document(&engine, &quiet(&engine, &dir, &options));
    let config = &document["config"];
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(config["Env"], json!([path, "APP=/app", "NAME=a b", "OTHER=7"]));
    assert_eq!(config["Labels"], json!({ "org.example.version": "7", "x": "y" }));
    assert_eq!(config["ExposedPorts"], json!({ "80/tcp": {}, "8000/udp": {}, "8001/udp": {} }));
    assert_eq!(config["Volumes"], json!({ "/data": {} }));
    assert_eq!([&config["WorkingDir"], &config["User"], &config["StopSignal"]], ["/app", "user", "SIGINT"]);
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD-SHELL", "test -e /made"]));
    assert_eq!(config["Healthcheck"]["Interval"], 5_000_000_000u64);
    assert_eq!(config["OnBuild"], json!(["RUN echo built on"]));
    assert_eq!([&config["Shell"][1], &document["author"]], ["-e", "someone"]);
    let history = document["history"].as_array().unwrap();
    let by = |part: &str| {
        let found = history.iter().find(|entry| entry["created_by"].as_str().is_some_and(|by| by.contains(part)));
        found.unwrap_or_else(|| panic!("no {part:?} in {history:?}")).clone()
    };
    assert_eq!(by("RUN |1 VERSION=7 /bin/sh -c echo")["empty_layer"], serde_json::Value::Null);
    assert_eq!(by("COPY a.txt sub ./ # buildkit")["comment"], "buildkit.dockerfile.v0");
    assert_eq!(by("CMD [\"cat /made\"]")["empty_layer"], true);
    let layers = history.iter().filter(|entry| entry["empty_layer"] != true).count();
    assert_eq!(document["rootfs"]["diff_ids"].as_array().unwrap().len(), layers);
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn what_has_not_changed_is_found_again() {
    let Some(engine) = Engine::new() else { return };
    let dir = context(&engine, &[("a", "1"), ("b", "1")]);
    let file = "FROM busybox\nRUN echo one > /one\nCOPY a /a\nRUN cat /a > /b\nCOPY b /c\n";
    let cached = |told: &str| told.matches(" CACHED").count();
    assert_eq!(cached(&built(&engine, &dir, file, &[])), 0);
    let first = quiet(&engine, &dir, &[]);
    assert_eq!(cached(&built(&engine, &dir, file, &[])), 4);
    assert_eq!(quiet(&engine, &dir, &[]), first, "the same image");
    // A file's time does not count, its content does.
    fs::File::open(dir.join("a")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(cached(&built(&engine, &dir, file, &[])), 4);
    fs::write(dir.join("b"), "2").unwrap();
    assert_eq!(cached(&built(&engine, &dir, file, &[])), 3);
    fs::write(dir.join("a"), "2").unwrap();
    assert_eq!(cached(&built(&engine, &dir, file, &[])), 1);
    assert_eq!(cached(&built(&engine, &dir, file, &["--no-cache"])), 0);
    // An argument that RUN can see counts; for what comes before it does not.
    let with_arg = "FROM busybox\nRUN echo before > /x\nARG X\nRUN echo after\n";
    built(&engine, &dir, with_arg, &["--build-arg", "X=1"]);
    assert_eq!(cached(&built(&engine, &dir, with_arg, &["--build-arg", "X=2"])), 1);
    // What goes with an image is still known: the next build need not make it again.
    assert!(engine.ctr(&["rmi", "-f", "built"]).status.success());
    assert_eq!(cached(&built(&engine, &dir, with_arg, &["--build-arg", "X=2"])), 2);
    let pruned = engine.ctr(&["builder", "prune", "-f"]);
    assert!(text(&pruned.stdout).contains("Total reclaimed space"), "{}", text(&pruned.stderr));
    assert_eq!(cached(&built(&engine, &dir, file, &[])), 0);
}

#[test]
fn a_failing_command_says_so_and_leaves_nothing() {
    let Some(engine) = Engine::new() else { return };
    let dir = context(&engine, &[]);
    let said = fails(&engine, &dir, "FROM busybox\nRUN echo seen; exit 42\nRUN echo never\n", &[]);
    let wanted = "ERROR: failed to build: failed to solve: process \"/bin/sh -c echo seen; exit 42\" did not complete \
        successfully: exit code: 42";
    for part in [wanted, "Dockerfile:2", "   2 | >>> RUN echo seen; exit 42", " seen\n"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains("#4"), "{said}");
    let said = fails(&engine, &dir, "FROM busybox\nRUN [\"/nowhere\"]\n", &[]);
    assert!(said.contains("/nowhere"), "{said}");
    let said = fails(&engine, &dir, "FROM busybox\nRUN sh -c 'kill -9 $$'; exit $?\n", &[]);
    assert!(said.contains("exit code: 137"), "{said}");
    for (file, part) in [
        ("FROM busybox\nFOO x\n", "dockerfile parse error on line 2: unknown instruction: FOO"),
        ("RUN x\n", "no build stage in current context"),
        ("FROM busybox\nCOPY none /\n", "\"/none\": not found"),
        ("FROM busybox\nCOPY a b c\n", "the destination must be a directory and end with a /"),
        ("FROM busybox\nENV a=${x\n", "missing '}'"),
        ("FROM --platform=linux/s390x busybox\n", "linux/s390x"),
        ("FROM busybox\nADD https://example.com/x.git /x\n", "git repositories are not fetched"),
        ("FROM busybox\nCOPY --from=9 / /\n", "invalid stage index"),
        ("FROM busybox\nCOPY --chown=nobody Dockerfile /\n", "no such user: nobody"),
    ] {
        let said = fails(&engine, &dir, file, &[]);
        assert!(said.contains(part), "{file}: no {part:?} in {said}");
    }
    assert_eq!(engine.leftovers(), (0, vec![]));
    assert_eq!(text(&engine.ctr(&["images", "-q"]).stdout).lines().count(), 1, "no image is left");
}

#[test]
fn options_that_are_wrong_are_refused() {
    let Some(engine) = Engine::new() else { return };
    let dir = context(&engine, &[("Dockerfile", "FROM busybox\n")]);
    for options in [
        &["--squash"][..],
        &["--ssh", "default"],
        &["--cache-from", "x"],
        &["--rm=false"],
        &["--provenance=true"],
        &["--no-such"],
        &["-t", "UPPER"],
        &["--output", "type=oci"],
        &["--secret", "x"],
        &["--add-host", "db"],
        &["--memory", "1k"],
        &["--network", "nowhere"],
        &["--ulimit", "x=1"],
    ] {
        let output = build(&engine, &dir, options);
        assert_eq!(output.status.code(), Some(125), "{options:?}");
    }
    let same = build(&engine, &dir, &["-q", "--rm", "--force-rm=true", "--load", "--provenance=false"]);
    assert!(same.status.success(), "{}", text(&same.stderr));
    let output = build(&engine, &dir, &["--platform", "linux/s390x"]);
    assert!(!output.status.success() && text(&output.stderr).contains("linux/s390x"));
    let output = engine.ctr(&["build", "https://example.com/x.git"]);
    assert!(!output.status.success() && text(&output.stderr).contains("not fetched"));
    let output = engine.ctr(&["build", "/nowhere"]);
    assert!(!output.status.success() && text(&output.stderr).contains("not found"));
}

#[test]
fn a_command_has_what_a_container_has() {
    let Some(engine) = Engine::new() else { return };
    let dir = context(&engine, &[]);
    let file = "FROM busybox\nRUN cat /etc/hosts /proc/self/status > /seen; ls /proc/self/fd | wc -l >> /seen\n\
        RUN ! test -s /proc/keys && ! (echo x > /proc/sysrq-trigger) && ! (echo x > /proc/sys/kernel/core_pattern)\n\
        RUN ! mount -t tmpfs x /tmp && ! unshare -r true\n\
        WORKDIR /deep/er\nWORKDIR /\nRUN test \"$(echo *)\" != '*' && test -d /deep/er && ! test -e er\n\
        RUN echo $HTTP_PROXY $GIVEN $HOME > /env\nUSER user\nRUN id > /tmp/id\n";
    let options = ["--add-host", "db:10.1.2.3", "--build-arg", "HTTP_PROXY=proxy", "--build-arg", "GIVEN=x"];
    let file = file.replace("FROM busybox\n", "FROM busybox\nRUN chmod 777 /tmp\n");
    let told = built(&engine, &dir, &file, &options);
    assert!(told.contains("[Warning] One or more build-args [GIVEN] were not consumed"), "{told}");
    let seen = sh(&engine, "cat /seen /env /tmp/id");
    for line in ["10.1.2.3\tdb", "NoNewPrivs:\t1", "Seccomp:\t2", "CapInh:\t0000000000000000", "CapEff:\t00000000a"] {
        assert!(seen.contains(line), "no {line:?} in {seen}");
    }
    assert!(seen.contains("\nproxy /root\nuid=1000(user) gid=1000"), "{seen}");
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn only_the_stages_that_are_needed() {
    let Some(engine) = Engine::new() else { return };
    let dir = context(&engine, &[]);
    let file = "FROM busybox AS one\nRUN echo 1 > /one\nFROM busybox AS broken\nRUN false\nFROM scratch AS last\n\
        COPY --from=one /bin /bin\nCOPY --from=0 /one /two\nFROM busybox AS other\nRUN exit 9\n";
    let told = built(&engine, &dir, file, &["--target", "last"]);
    assert!(told.contains("[last 2/3] COPY --from=one /bin /bin") && !told.contains("broken"), "{told}");
    assert_eq!(sh(&engine, "cat /two; ls /"), "1\nbin\ndev\netc\nproc\nsys\ntwo\n");
    let said = fails(&engine, &dir, file, &["--target", "nowhere"]);
    assert!(said.contains("target stage \"nowhere\" could not be found"), "{said}");
    // Files of an image that is no stage.
    built(&engine, &dir, "FROM scratch\nCOPY --from=busybox /bin/busybox /bin/sh\n", &[]);
    assert_eq!(sh(&engine, "echo works"), "works\n");
    // Triggers are carried out by who builds on them.
    built(
        &engine,
        &dir,
        "FROM busybox\nONBUILD COPY Dockerfile /trigger\nONBUILD RUN echo x > /arg\n",
        &["-t", "base"],
    );
    built(&engine, &dir, "FROM base\n", &[]);
    assert_eq!(sh(&engine, "cat /trigger /arg"), "FROM base\nx\n");
}

#[test]
fn the_context_ends_at_its_folder() {
    let Some(engine) = Engine::new() else { return };
    let secret = engine.dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let dir = context(&engine, &[("a/b", "in"), ("skip.log", "x"), ("keep.log", "y"), ("a/deep.log", "z")]);
    fs::write(dir.join(".dockerignore"), "# comment\n**/*.log\n!keep.log\nDockerfile\n").unwrap();
    std::os::unix::fs::symlink(&secret, dir.join("absolute")).unwrap();
    std::os::unix::fs::symlink("../secret", dir.join("relative")).unwrap();
    std::os::unix::fs::symlink("a/b", dir.join("inside")).unwrap();
    for source in ["absolute", "relative", "../secret", "../../../../../../etc/hostname", "skip.log"] {
        let said = fails(&engine, &dir, &format!("FROM busybox\nCOPY {source} /x\n"), &[]);
        assert!(said.contains("not found"), "{source}: {said}");
    }
    built(&engine, &dir, "FROM busybox\nCOPY . /ctx/\nCOPY inside /x\n", &[]);
    let seen = ".:\n.\n..\n.dockerignore\na\nabsolute\ninside\nkeep.log\nrelative\n\na:\n.\n..\nb\nin";
    assert_eq!(sh(&engine, "cd /ctx; ls -a . a; cat /x; test -L absolute"), seen);
    // Links of the image stay in the image.
    built(&engine, &dir, "FROM busybox\nRUN ln -s ../../../../../../ /up\nCOPY a/b /up/new/b\n", &[]);
    assert_eq!(sh(&engine, "cat /new/b"), "in");
    assert!(!Path::new("/new").exists());
}

#[test]
fn mounts_of_run() {
    let Some(engine) = Engine::new() else { return };
    let dir = context(&engine, &[("a", "from context\n"), ("hidden", "h"), (".dockerignore", "hidden\n")]);
    let secret = engine.dir.path().join("key");
    fs::write(&secret, "hush").unwrap();
    let secret = format!("id=key,src={}", secret.display());
    let file = "FROM busybox AS one\nRUN echo stage > /s\nFROM busybox\n\
        RUN --mount=target=/ctx --mount=type=bind,from=one,source=/s,target=/mnt/s cat /ctx/a /mnt/s > /seen; ls /ctx >> /seen\n\
        RUN --mount=type=bind,target=/ctx,rw echo changed > /ctx/a\n\
        RUN --mount=type=cache,target=/cache echo x >> /cache/n; wc -l < /cache/n > /count\n\
        RUN --mount=type=tmpfs,target=/t touch /t/x && stat -f -c %T /t > /type\n\
        RUN --mount=type=secret,id=key cat /run/secrets/key > /leak; stat -c %a /run/secrets/key >> /leak\n\
        RUN --mount=type=secret,id=key,env=KEY test \"$KEY\" = hush\n";
    built(&engine, &dir, file, &["--secret", &secret]);
    let seen = sh(&engine, "cat /seen /count /type /leak");
    assert_eq!(seen, "from context\nstage\nDockerfile\na\n1\ntmpfs\nhush400\n");
    assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "from context\n", "the context is not changed");
    let points = sh(&engine, "for d in /ctx /mnt /cache /t /run; do test ! -e $d || echo $d; done");
    assert_eq!(points, "", "mount points are no part of the image");
    built(&engine, &dir, &file.replace("echo x", "echo  x"), &["--secret", &secret]);
    assert_eq!(sh(&engine, "cat /count"), "2\n", "a cache stays");
    let said = fails(&engine, &dir, "FROM busybox\nRUN --mount=type=secret,id=none,required true\n", &[]);
    assert!(said.contains("secret none: not found"), "{said}");
    fails(&engine, &dir, "FROM busybox\nRUN --mount=type=bind,target=/x echo > /x/y\n", &[]);
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn archives_are_unpacked_by_add() {
    let Some(engine) = Engine::new() else { return };
    let dir = context(&engine, &[("in/one", "1"), ("in/d/two", "2")]);
    let script = "cd in && chown 5:6 one && chmod 4711 one && tar -czf ../x.tar.gz . && tar -cf ../y.tar d && echo no > ../z.tar";
    let packed = std::process::Command::new("sh").arg("-c").arg(script).current_dir(&dir).status().unwrap();
    assert!(packed.success());
    let file =
        "FROM busybox\nADD x.tar.gz y.tar /deep/er/\nADD z.tar /z\nCOPY y.tar /y\nADD --chown=7:8 y.tar /owned\n";
    built(&engine, &dir, file, &[]);
    let script =
        "cd /deep/er; cat one d/two; stat -c ' %u:%g %a' one; cat /z; stat -c %s /y; stat -c %u:%g /owned/d/two";
    assert_eq!(sh(&engine, script), "12 5:6 4711\nno\n10240\n7:8\n");
    fs::write(dir.join("x.tar.xz"), b"\xfd7zXZ\0\0\0").unwrap();
    let said = fails(&engine, &dir, "FROM busybox\nADD x.tar.xz /\n", &[]);
    assert!(said.contains("xz"), "{said}");
}

/// A server of one file; its address.
fn serve(body: &'static [u8]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            let found = request[..length].starts_with(b"GET /file");
            let status = if found { "200 OK" } else { "404 Not Found" };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nLast-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    format!("http://{address}")
}

#[test]
fn files_that_are_fetched() {
    let Some(engine) = Engine::new() else { return };
    let dir = context(&engine, &[]);
    let url = serve(b"fetched\n");
    let sum = "sha256:1d5a4df9ccf7d6a8e5e0b4e2a6c4e7a0cbe3f1f9e4b56b2b3e1c1f0c3a0d9b11";
    built(&engine, &dir, &format!("FROM busybox\nADD {url}/file /dir/\nADD {url}/file?x=y /named\n"), &[]);
    assert_eq!(
        sh(&engine, "cat /dir/file /named; stat -c '%a %u %Y' /dir/file"),
        "fetched\nfetched\n600 0 1000000000\n"
    );
    let said = fails(&engine, &dir, &format!("FROM busybox\nADD --checksum={sum} {url}/file /x\n"), &[]);
    assert!(said.contains("digest mismatch"), "{said}");
    let said = fails(&engine, &dir, &format!("FROM busybox\nADD {url}/none /x\n"), &[]);
    assert!(said.contains("invalid response status 404"), "{said}");
    let said = fails(&engine, &dir, &format!("FROM busybox\nADD {url}/ /x/\n"), &[]);
    assert!(said.contains("cannot determine filename"), "{said}");
    let said = fails(&engine, &dir, &format!("FROM busybox\nADD --checksum={sum} Dockerfile /x\n"), &[]);
    assert!(said.contains("checksum can't be specified for non-HTTP"), "{said}");
}

#[test]
fn further_contexts() {
    let Some(engine) = Engine::new() else { return };
    let dir = context(&engine, &[]);
    let other = engine.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    for (name, content) in [("a", "A"), ("b.log", "B"), (".dockerignore", "*.log\n")] {
        fs::write(other.join(name), content).unwrap();
    }
    let folder = format!("more={}", other.display());
    let options = ["--build-context", &folder, "--build-context", "base=docker-image://busybox"];
    let file = "FROM base\nCOPY --from=more . /m/\nRUN --mount=from=more,target=/x ls /x > /list\nCOPY --from=base /etc/passwd /p\n";
    built(&engine, &dir, file, &options);
    assert_eq!(sh(&engine, "ls /m; cat /list; test -s /p && stat -c %u /m/a"), "a\na\n0\n");
    let said = fails(&engine, &dir, "FROM more\n", &options);
    assert!(said.contains("is a folder"), "{said}");
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn standard_input_and_results_elsewhere() {
    let Some(engine) = Engine::new() else { return };
    let dir = context(&engine, &[("a", "A"), ("Dockerfile", "FROM scratch\nCOPY a /\n")]);
    let piped = |args: &[&str], input: &[u8]| {
        let mut command = engine.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        output.stdout
    };
    let tar = std::process::Command::new("tar").arg("-C").arg(&dir).args(["-cz", "."]).output().unwrap().stdout;
    let archive = piped(&["build", "-o", "-", "-"], &tar);
    let listed = engine.dir.path().join("out.tar");
    fs::write(&listed, &archive).unwrap();
    let names = std::process::Command::new("tar").arg("-tf").arg(&listed).output().unwrap();
    assert_eq!(text(&names.stdout), "a\n");
    let out = engine.dir.path().join("out");
    let stdin = ["build", "-f", "-", "-o", out.to_str().unwrap(), dir.to_str().unwrap()];
    piped(&stdin, b"FROM scratch\nCOPY a /x/y\n");
    assert_eq!(fs::read_to_string(out.join("x/y")).unwrap(), "A");
    let id = piped(&["build", "-q", "-"], b"FROM busybox\nLABEL x=y\n");
    let file = engine.dir.path().join("iid");
    piped(&["build", "-q", "--iidfile", file.to_str().unwrap(), "-"], b"FROM busybox\nLABEL x=y\n");
    assert_eq!(fs::read_to_string(file).unwrap(), text(&id).trim());
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn the_same_bytes_again() {
    let Some(engine) = Engine::new() else { return };
    let dir = context(&engine, &[("a", "A")]);
    let file = "FROM busybox\nRUN mkdir /d && echo x > /d/x\nCOPY a /d/\nLABEL x=y\n";
    fs::write(dir.join("Dockerfile"), file).unwrap();
    let first = quiet(&engine, &dir, &["--no-cache", "--timestamp", "1000000000"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    fs::write(dir.join("a"), "A").unwrap();
    assert_eq!(quiet(&engine, &dir, &["--no-cache", "--timestamp", "1000000000"]), first);
    let epoch = || quiet(&engine, &dir, &["--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1000000000"]);
    assert_eq!(epoch(), epoch());
    assert_eq!(document(&engine, &first)["created"], "2001-09-09T01:46:40Z");
}

/// Whether a process with this command line is there.
fn runs(command: &[u8]) -> bool {
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line == command)
}

#[test]
fn a_build_that_is_cancelled_leaves_nothing() {
    use nix::sys::signal::{Signal, kill};
    let Some(engine) = Engine::new() else { return };
    let dir = context(&engine, &[("Dockerfile", "FROM busybox\nRUN exec sleep 98765\n")]);
    let soon = |condition: &dyn Fn() -> bool| {
        (0..250).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            condition()
        })
    };
    let payload = b"sleep\x0098765\0";
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let args = ["build", "--network", "none", dir.to_str().unwrap()];
        let mut child = engine.command(&args).stderr(Stdio::null()).spawn().unwrap();
        assert!(soon(&|| runs(payload)));
        kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let status = child.wait().unwrap();
        if signal == Signal::SIGKILL {
            // Nobody was left to clean up: the next command does it, once the kernel has let go of the lock.
            let clean = || {
                engine.ctr(&["ps"]);
                engine.leftovers() == (0, vec![])
            };
            assert!(soon(&clean), "{:?}", engine.leftovers());
        } else {
            assert_eq!(status.code(), Some(128 + signal as i32));
            assert_eq!(engine.leftovers(), (0, vec![]), "{signal}");
        }
        assert!(soon(&|| !runs(payload)), "the command has ended");
    }
}
