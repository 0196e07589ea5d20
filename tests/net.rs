//! The network tools as black boxes, in namespaces of the tests' own: needs root; `ip` of iproute2, `udhcpd` and
//! `dnsmasq` are peers where they are present.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy.toml does not know as such.

use std::path::PathBuf;
use std::process::{Command, Output};

fn binary() -> PathBuf {
    std::env::var_os("CORACLE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_coracle").into(), PathBuf::from)
}

fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
    found.status.success()
}

/// Run a script in a fresh network and mount namespace; `$B` is the binary, `$T` a directory that is gone afterwards.
/// `None` if this machine cannot.
fn script(peers: &[&str], text: &str) -> Option<Output> {
    if !nix::unistd::geteuid().is_root() || !peers.iter().all(|peer| has(peer)) {
        println!("SKIP net: needs root and {peers:?}");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let preamble = "set -e; mount --make-rprivate /; ";
    let output = Command::new("unshare")
        .args(["-n", "-m", "sh", "-c", &format!("{preamble}{text}")])
        .env("B", binary())
        .env("T", dir.path())
        .env("CORACLE_RUN", dir.path().join("run"))
        .output()
        .unwrap();
    Some(output)
}

fn passes(peers: &[&str], text: &str) -> String {
    let Some(output) = script(peers, text) else { return String::new() };
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
    out
}

#[test]
fn ip_shows_what_iproute2_shows() {
    passes(
        &["ip", "unshare"],
        r#"
        $B ip link set lo up
        $B ip link add v0 type veth peer name v1
        $B ip link add br0 type bridge
        $B ip link set v0 master br0 up
        $B ip link set v1 up
        $B ip link set br0 up mtu 1400
        $B ip addr add 10.5.0.1/24 brd + dev br0
        $B ip addr add fd00::1/64 dev br0
        $B ip route add default via 10.5.0.9
        $B ip route add 10.6.0.0/16 dev br0 metric 5
        $B ip neigh add 10.5.0.7 lladdr 2:3:4:5:6:7 dev br0
        sleep 2
        for words in "addr" "-o addr" "-br addr" "-4 addr" "link" "-o link" "-br link" "route" "-6 route" \
            "route show table local" "neigh" "-o -4 addr show dev br0" "addr show br0"; do
            ip $words | sed 's/ *$//' > $T/theirs
            $B ip $words | sed 's/ *$//' > $T/ours
            diff $T/theirs $T/ours || { echo "differs: ip $words"; exit 1; }
        done
        $B ip route del default
        $B ip route del 10.6.0.0/16
        $B ip addr flush dev br0
        test -z "$(ip route)"
        $B ip link del v0
        ! ip link show v1 2>/dev/null
        "#,
    );
}

#[test]
fn ip_refuses_what_it_does_not_know() {
    for words in
        ["foo", "addr add 1.2.3.4/99 dev lo", "link set lo mtu x", "link del nope", "route add default via", "-x addr"]
    {
        let output = Command::new(binary()).arg("ip").args(words.split(' ')).output().unwrap();
        assert!(!output.status.success(), "{words}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("ip: "), "{words}");
    }
}

#[test]
fn ping_counts_answers() {
    let out = passes(
        &["unshare"],
        "$B ip link set lo up; $B ping -c 2 -i 0.1 127.0.0.1; $B ping -c 1 ::1; \
         ! $B ping -q -c 1 -W 0.2 192.0.2.1 2>/dev/null",
    );
    assert!(out.is_empty() || out.contains("2 packets transmitted, 2 packets received, 0% packet loss"), "{out}");
}

#[test]
fn udhcpc_gets_renews_and_releases_a_lease() {
    let out = passes(
        &["ip", "udhcpd", "unshare", "nsenter"],
        r#"
        ip link add eth0 type veth peer name srv
        unshare -n sleep 60 & server=$!
        sleep 0.3
        ip link set srv netns $server
        nsenter -t $server -n sh -c 'ip addr add 10.7.0.1/24 dev srv; ip link set srv up'
        printf '%s\n' 'start 10.7.0.20' 'end 10.7.0.30' 'interface srv' "lease_file $T/leases" "pidfile $T/pid" \
            'min_lease 5' 'option subnet 255.255.255.0' 'opt router 10.7.0.1' 'opt dns 10.7.0.1' \
            'opt domain example.org' 'opt lease 8' > $T/conf
        : > $T/leases
        nsenter -t $server -n udhcpd -f $T/conf 2> $T/server.log & daemon=$!
        trap 'kill $server $daemon' EXIT
        sleep 0.3
        $B udhcpc -f -i eth0 2> $T/log & client=$!
        for n in 1 2 3 4 5 6 7 8; do test -e $CORACLE_RUN/network/eth0.json && break; sleep 1; done
        grep -q '"gateway": "10.7.0.1"' $CORACLE_RUN/network/eth0.json
        grep -q '^nameserver 10.7.0.1$' $CORACLE_RUN/resolv.conf
        grep -q '^search example.org$' $CORACLE_RUN/resolv.conf
        ip route | grep -q '^default via 10.7.0.1 dev eth0 proto dhcp'
        sleep 5
        echo "leased $(grep -c 'for 8 s' $T/log)"
        kill $client
        wait $client
        test -z "$(ip -4 addr show dev eth0)"
        ! test -e $CORACLE_RUN/network/eth0.json
        $B udhcpc -q -n -i eth0
        ip -4 addr show dev eth0 | grep -q 'inet 10.7.0.'
        kill $daemon
        ip addr flush dev eth0
        ! $B udhcpc -q -n -t 1 -i eth0
        trap 'kill $server' EXIT
        "#,
    );
    let leased = out.lines().find_map(|line| line.strip_prefix("leased ")).map(|n| n.parse::<u32>().unwrap());
    assert!(leased.is_none_or(|count| count >= 2), "renewed: {out}");
}

#[test]
fn nslookup_asks_the_server_that_it_is_given() {
    let out = passes(
        &["ip", "dnsmasq", "unshare"],
        r#"
        ip link set lo up
        dnsmasq -p 5353 --no-daemon --no-hosts --no-resolv --host-record=www.test,192.0.2.7,fd00::7 \
            --cname=al.test,www.test --mx-host=test,mail.test,10 2>/dev/null & server=$!
        trap 'kill $server' EXIT
        sleep 0.5
        $B nslookup al.test 127.0.0.1:5353
        $B nslookup -type=mx test 127.0.0.1:5353
        ! $B nslookup nope.test 127.0.0.1:5353
        "#,
    );
    for wanted in ["al.test\tcanonical name = www.test.", "Address: 192.0.2.7", "mail exchanger = 10 mail.test."] {
        assert!(out.is_empty() || out.contains(wanted), "{wanted}: {out}");
    }
}

#[test]
fn wget_fetches_resumes_and_notices_a_short_answer() {
    passes(
        &["ip", "busybox", "unshare", "cmp"],
        r#"
        ip link set lo up
        mkdir $T/www $T/got
        head -c 300000 /dev/urandom > $T/www/big
        busybox httpd -f -p 127.0.0.1:8000 -h $T/www & server=$!
        trap 'kill $server' EXIT
        sleep 0.3
        cd $T/got
        $B wget -q http://127.0.0.1:8000/big && cmp big $T/www/big
        ! $B wget -q http://127.0.0.1:8000/big 2>/dev/null
        head -c 1000 $T/www/big > big
        $B wget -q -c http://127.0.0.1:8000/big && cmp big $T/www/big
        $B wget -q -O - 127.0.0.1:8000/big | cmp - $T/www/big
        ! $B wget -q http://127.0.0.1:8000/none 2>/dev/null
        ! test -e none
        ! $B wget -q http://127.0.0.1:1/ 2>/dev/null
        "#,
    );
}
