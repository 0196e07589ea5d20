//! Networks. Each test is a host of its own: a network namespace with nothing but loopback.

use std::process::Stdio;

use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use super::{Engine, text};

/// A host with an engine.
pub struct Host {
    pub engine: Engine,
}

impl Host {
    /// Run a test on a host of its own, and see that it leaves nothing behind.
    pub fn test(test: impl FnOnce(&Host) + Send + 'static) {
        let thread = std::thread::spawn(|| {
            if !nix::unistd::geteuid().is_root() {
                println!("SKIP ctr_network: needs root");
                return;
            }
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
            shell("mount --make-rprivate / && ip link set lo up");
            let Some(engine) = Engine::new() else { return };
            let host = Host { engine };
            let before = host.traces();
            test(&host);
            assert_eq!(host.traces(), before, "something was left behind");
            assert_eq!(host.name_servers(), Vec::<i32>::new());
            assert_eq!(host.engine.leftovers(), (0, vec![]));
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    /// Everything that networks can leave in the kernel and on disk.
    fn traces(&self) -> String {
        let run = self.engine.dir.path().join("run/networks");
        let networks = self.engine.dir.path().join("state/networks");
        shell(&format!(
            "ip -o link | sed 's/^[0-9]*: //'; ip -o addr | sed 's/^[0-9]*: //'; ip route; ip -6 route; nft list ruleset; \
             find {0} {0}/../dns {1} -mindepth 1 ! -name lock ! -type d 2>/dev/null || true",
            run.display(),
            networks.display()
        ))
    }

    /// Run `ctr`, which must succeed; its output.
    pub fn ctr(&self, args: &str) -> String {
        let args: Vec<&str> = args.split_ascii_whitespace().collect();
        self.ctr_args(&args)
    }

    pub fn ctr_args(&self, args: &[&str]) -> String {
        let output = self.engine.ctr(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout).trim_end().to_owned()
    }

    /// Run `ctr`, which must fail; its status and what it says.
    pub fn refused(&self, args: &str) -> (i32, String) {
        let output = self.engine.ctr(&args.split_ascii_whitespace().collect::<Vec<_>>());
        assert!(!output.status.success(), "{args}: {}", text(&output.stdout));
        (output.status.code().unwrap(), text(&output.stderr).trim_end().to_owned())
    }

    /// Start a container that stays.
    pub fn start(&self, name: &str, options: &str) {
        self.ctr(&format!("run -d --name {name} {options} busybox busybox sleep 1000"));
    }

    /// Start a container that answers on TCP ports by its name and who asks.
    pub fn serve(&self, name: &str, port: u16, options: &str) {
        let args = format!("run -d --name {name} {options} busybox busybox nc -ll -p {port} -e");
        let mut args: Vec<&str> = args.split_ascii_whitespace().collect();
        args.extend(["/bin/busybox", "echo", name]);
        self.ctr_args(&args);
    }

    /// What a server says to a container; nothing if it is not reached.
    pub fn ask(&self, name: &str, address: &str, port: u16) -> String {
        let script = format!("busybox nc -w 2 {address} {port} < /dev/null");
        text(&self.engine.ctr(&["exec", name, "sh", "-c", &script]).stdout).trim().to_owned()
    }

    /// The same, to the host.
    pub fn ask_from_host(&self, address: &str, port: u16) -> String {
        let mut command = std::process::Command::new("/bin/busybox");
        command.args(["nc", "-w", "2", address, &port.to_string()]).stdin(Stdio::null());
        text(&command.output().unwrap().stdout).trim().to_owned()
    }

    pub fn networks(&self, container: &str) -> Value {
        self.engine.inspect(container)["NetworkSettings"]["Networks"].clone()
    }

    pub fn remove(&self, names: &str) {
        self.ctr(&format!("rm -f {names}"));
    }
}

pub fn shell(script: &str) -> String {
    let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert!(output.status.success(), "{script}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn networks_are_made_listed_and_removed() {
    Host::test(|host| {
        let id = host.ctr("network create --label a=b --label c one");
        assert_eq!(id.len(), 64);
        let listed = host.ctr("network ls");
        let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
        assert_eq!(lines[0].join(" "), "NETWORK ID NAME DRIVER SCOPE");
        let names: Vec<&str> = lines[1..].iter().map(|line| line[1]).collect();
        assert_eq!(names, ["bridge", "host", "none", "one"]);
        assert_eq!(lines[4], [&id[..12], "one", "bridge", "local"]);
        assert_eq!(host.ctr("network ls --filter type=custom --format {{.Name}}:{{.Internal}}"), "one:false");
        assert_eq!(host.ctr("network ls -q -f name=^ho"), "4740ae6347b0");
        assert_eq!(host.ctr("network ls --filter label=a=b --filter driver=bridge --format json").lines().count(), 1);
        assert_eq!(
            host.ctr_args(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "one"]),
            "172.18.0.0/16"
        );
        assert_eq!(host.ctr("network ls -q --no-trunc").lines().last(), Some(id.as_str()));
        let all: Value = serde_json::from_str(&host.ctr(&format!("network inspect {}", &id[..5]))).unwrap();
        let one = &all[0];
        assert_eq!((one["Name"].as_str(), one["Id"].as_str()), (Some("one"), Some(id.as_str())));
        assert_eq!(one["IPAM"]["Config"][0]["Subnet"], "172.18.0.0/16");
        assert_eq!(one["IPAM"]["Config"][0]["Gateway"], "172.18.0.1");
        assert_eq!(one["Labels"], serde_json::json!({ "a": "b", "c": "" }));
        host.ctr("network create two");
        let all: Value = serde_json::from_str(&host.ctr("network inspect one two")).unwrap();
        assert_eq!(all[1]["IPAM"]["Config"][0]["Subnet"], "172.19.0.0/16");

        for (args, wanted) in [
            ("network create one", "network with name one already exists"),
            ("network create host", "operation is not permitted on predefined host network"),
            ("network create --subnet 172.18.7.0/24 x", "Pool overlaps with other one on this address space"),
            ("network create -d overlay x", "could not find plugin overlay in v1 plugin registry: plugin not found"),
            ("network create -d macvlan -o parent=nothing x", "parent interface nothing is not there"),
            ("network create -o com.docker.network.bridge.nothing=1 x", "unknown option"),
            ("network inspect x", "network x not found"),
            ("network rm x", "network x not found"),
            ("network rm bridge", "bridge is a pre-defined network and cannot be removed"),
        ] {
            let (status, error) = host.refused(args);
            assert!(status == 1 && error.contains(wanted), "{args}: {status} {error}");
        }
        let (status, error) = host.refused("run --network x busybox true");
        assert!(status == 125 && error.contains("network x not found"), "{status} {error}");
        assert_eq!(host.ctr(&format!("network rm one {id} -f x")), "one", "{id} is gone by then");
        assert_eq!(host.ctr("network prune -f"), "Deleted Networks:\ntwo");
    });
}

#[test]
fn containers_join_networks() {
    Host::test(|host| {
        host.ctr("network create --subnet 10.7.0.0/24 --ip-range 10.7.0.128/25 one");
        host.ctr("network create --subnet 10.8.0.0/24 --subnet fd08::/64 -o com.docker.network.driver.mtu=1400 two");
        host.serve(
            "web",
            80,
            "--network one --network two --network-alias www --ip 10.7.0.9 --mac-address 02:00:00:00:00:09",
        );
        let networks = host.networks("web");
        let one = &networks["one"];
        assert_eq!((one["IPAddress"].as_str(), one["IPPrefixLen"].as_u64()), (Some("10.7.0.9"), Some(24)));
        assert_eq!(
            (one["Gateway"].as_str(), one["MacAddress"].as_str()),
            (Some("10.7.0.1"), Some("02:00:00:00:00:09"))
        );
        assert_eq!(one["Aliases"], serde_json::json!(["www"]));
        assert_eq!(networks["two"]["GlobalIPv6Address"], "fd08::2");
        assert_eq!(networks["two"]["IPv6Gateway"], "fd08::1");
        assert_eq!(host.engine.inspect("web")["NetworkSettings"]["IPAddress"], "", "the default network only");
        host.start("aa", "--network one");
        host.start("bb", "--network name=two,ip6=fd08::77");
        assert_eq!(host.networks("aa")["one"]["IPAddress"], "10.7.0.128", "the first of the range");
        assert_eq!(host.networks("bb")["two"]["GlobalIPv6Address"], "fd08::77");
        assert_eq!(host.ask("aa", "10.7.0.9", 80), "web");
        assert_eq!(host.ask("aa", "www", 80), "web", "by its alias");
        assert_eq!(host.ask("bb", "web", 80), "web", "by its name");
        assert_eq!(host.ask("bb", "www", 80), "", "an alias is of one network");
        assert!(host.ctr("exec web busybox nslookup aa").contains("10.7.0.128"), "those that came first are told");
        assert_eq!(host.ask("bb", "10.8.0.2", 80), "web");
        assert_eq!(host.ask("bb", "fd08::2", 80), "web");
        assert_eq!(host.ask("aa", "10.8.0.2", 80), "", "networks are isolated");
        assert_eq!(host.ask_from_host("10.7.0.9", 80), "web");
        let links = host.ctr("exec web busybox ip -o link");
        assert!(links.contains("eth1") && links.contains("mtu 1400"), "{links}");
        let routes = host.ctr("exec web busybox ip route");
        assert_eq!(routes.matches("default").count(), 1, "{routes}");
        assert!(host.ctr("exec web cat /etc/hosts").contains("10.7.0.9\t"));

        let (_, error) = host.refused("network rm one");
        assert!(error.contains("network one has active endpoints (name:\""), "{error}");
        assert!(error.contains("name:\"aa\" id:\"") && error.contains("name:\"web\" id:\""), "{error}");
        let (status, error) = host.refused("run --rm --network one --ip 10.7.0.9 busybox true");
        assert!(status == 125 && error.contains("Address already in use"), "{status} {error}");
        let (_, error) = host.refused("run --rm --network one --ip 10.9.0.9 busybox true");
        assert!(error.contains("no configured subnet or ip-range contain the IP address 10.9.0.9"), "{error}");
        let (_, error) = host.refused("run --rm --ip 10.88.0.9 busybox true");
        assert!(error.contains("user specified IP address is supported on user defined networks only"), "{error}");
        let (_, error) = host.refused("run --rm --network-alias x busybox true");
        assert!(error.contains("network-scoped aliases are only supported for user-defined networks"), "{error}");
        let shown: Value = serde_json::from_str(&host.ctr("network inspect two")).unwrap();
        let containers = shown[0]["Containers"].as_object().unwrap();
        let addresses: Vec<_> = containers.values().map(|entry| entry["IPv6Address"].as_str().unwrap()).collect();
        assert!(addresses.contains(&"fd08::2/64") && addresses.contains(&"fd08::77/64"), "{addresses:?}");
        host.remove("web aa bb");
        host.ctr("network rm one two");
    });
}

#[test]
fn a_container_moves_between_networks() {
    Host::test(|host| {
        host.ctr("network create --subnet 10.7.0.0/24 one");
        host.ctr("network create --subnet 10.8.0.0/24 two");
        host.serve("web", 80, "--network one");
        host.start("other", "--network two");
        // Not asked before it is there: that would be remembered as a neighbour that does not answer.
        host.ctr("network connect --alias www --ip 10.8.0.3 two web");
        assert_eq!(host.ask("other", "10.8.0.3", 80), "web");
        assert_eq!(host.networks("web")["two"]["IPAddress"], "10.8.0.3");
        let (_, error) = host.refused("network connect two web");
        assert_eq!(error, "ctr: endpoint with name web already exists in network two");
        host.ctr("network disconnect one web");
        assert!(host.networks("web").get("one").is_none());
        assert_eq!(host.ctr("exec web busybox ip route").lines().next(), Some("default via 10.8.0.1 dev eth1 "));
        let (_, error) = host.refused("network disconnect one web");
        assert!(error.contains("is not connected to network one"), "{error}");
        // It stays so over a restart.
        host.ctr("stop -t 0 web");
        assert_eq!(host.networks("web")["two"]["IPAddress"], "");
        host.ctr("start web");
        assert_eq!(host.ask("other", "10.8.0.3", 80), "web");
        assert_eq!(host.ctr("exec web busybox ip route").lines().next(), Some("default via 10.8.0.1 dev eth0 "));
        host.ctr("stop -t 0 web");
        host.ctr("network connect one web");
        host.ctr("network disconnect two web");
        host.ctr("start web");
        assert_eq!(host.networks("web").as_object().unwrap().keys().collect::<Vec<_>>(), ["one"]);
        for args in ["network connect host web", "network disconnect none web", "network connect one nothing"] {
            assert_eq!(host.refused(args).0, 1, "{args}");
        }
        host.remove("web other");
        host.ctr("network rm one two");
    });
}

#[test]
fn connections_at_once_are_all_kept() {
    Host::test(|host| {
        let names: Vec<_> = (0..8).map(|number| format!("net{number}")).collect();
        names.iter().for_each(|name| drop(host.ctr(&format!("network create {name}"))));
        host.ctr("create --name made busybox sleep 1000");
        host.start("up", "");
        for container in ["made", "up"] {
            for (command, wanted) in [("connect", 9), ("disconnect", 1)] {
                std::thread::scope(|scope| {
                    for name in &names {
                        scope.spawn(move || host.ctr(&format!("network {command} {name} {container}")));
                    }
                });
                assert_eq!(host.networks(container).as_object().unwrap().len(), wanted, "{command} {container}");
            }
        }
        host.ctr("rm -f made up");
        host.ctr("network create kept");
        host.start("up", "--network kept");
        let pruned = host.ctr("system prune -f");
        let gone: std::collections::BTreeSet<_> = pruned.lines().filter(|line| line.starts_with("net")).collect();
        assert!(pruned.contains("Deleted Networks:\n") && gone.len() == 8 && !pruned.contains("kept"), "{pruned}");
        host.ctr("rm -f up");
        assert!(host.ctr("system prune -f").starts_with("Deleted Networks:\nkept\n\n"));
    });
}

#[test]
fn a_namespace_is_shared() {
    Host::test(|host| {
        host.ctr("network create one");
        host.serve("web", 80, "--network one --hostname shown");
        let shared = host.ctr_args(&[
            "run",
            "--rm",
            "--network",
            "container:web",
            "busybox",
            "sh",
            "-c",
            "busybox nc -w 2 127.0.0.1 80 < /dev/null; busybox hostname; cat /etc/hosts",
        ]);
        assert!(shared.starts_with("web\nshown\n") && shared.contains("172.18.0.2\tshown"), "{shared}");
        for (args, wanted) in [
            ("-p 80:80", "conflicting options: port publishing and the container type network mode"),
            ("--hostname x", "conflicting options: hostname and the network mode"),
            ("--ip 172.18.0.9", "user specified IP address"),
        ] {
            let (status, error) = host.refused(&format!("run --rm --network container:web {args} busybox true"));
            assert!(status == 125 && error.contains(wanted), "{args}: {error}");
        }
        let id = host.ctr("create --network container:web busybox sleep 5");
        assert!(host.engine.inspect(&id)["HostConfig"]["NetworkMode"].as_str().unwrap().starts_with("container:"));
        host.ctr("stop -t 0 web");
        let (status, error) = host.refused(&format!("start {id}"));
        assert!(status != 0 && error.contains("of a non running container"), "{error}");
        host.remove(&format!("web {id}"));
        assert_eq!(host.refused("run --rm --network container:web busybox true").0, 125);
        host.ctr("network rm one");
    });
}

#[test]
fn ports_are_published() {
    Host::test(|host| {
        shell(
            "ip link add uplink type veth peer name far && ip addr add 192.0.2.1/24 dev uplink && ip addr add fd01::1/64 dev uplink nodad",
        );
        shell("ip link set uplink up && ip link set far up");
        host.ctr("network create --ipv6 --subnet 10.7.0.0/24 --subnet fd07::/64 one");
        host.serve("web", 80, "--network one -p 8080:80 -p 127.0.0.1:8081:80 -p 80 -p [::]:8083:80");
        for (address, port, wanted) in [
            ("127.0.0.1", 8080, "web"),
            ("192.0.2.1", 8080, "web"),
            ("fd01::1", 8080, "web"),
            ("127.0.0.1", 8081, "web"),
            ("192.0.2.1", 8081, ""),
            ("fd01::1", 8083, "web"),
            ("192.0.2.1", 8083, ""),
        ] {
            assert_eq!(host.ask_from_host(address, port), wanted, "{address} {port}");
        }
        assert_eq!(host.ask("web", "192.0.2.1", 8080), "web", "a container reaches itself");
        assert_eq!(host.ask("web", "fd01::1", 8080), "web");
        let ports = host.engine.inspect("web")["NetworkSettings"]["Ports"]["80/tcp"].clone();
        let shown: Vec<_> =
            ports.as_array().unwrap().iter().map(|port| port["HostIp"].as_str().unwrap().to_owned()).collect();
        assert!(["0.0.0.0", "::", "127.0.0.1"].iter().all(|ip| shown.iter().any(|shown| shown == ip)), "{shown:?}");
        let chosen = ports
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|port| port["HostPort"].as_str()?.parse::<u16>().ok())
            .find(|port| *port > 8083);
        assert_eq!(host.ask_from_host("127.0.0.1", chosen.unwrap()), "web");

        let (status, error) = host.refused("run --rm --name xx -p 8080:80 busybox true");
        let wanted = "driver failed programming external connectivity on endpoint xx (";
        assert!(status == 125 && error.contains(wanted), "{status} {error}");
        assert!(error.ends_with("): Bind for 0.0.0.0:8080 failed: port is already allocated"), "{error}");
        let (_, error) = host.refused("run --rm -p 192.0.2.1:8080:80 busybox true");
        assert!(error.contains("port is already allocated"), "{error}");
        let listener = std::net::TcpListener::bind("127.0.0.1:9090").unwrap();
        let (_, error) = host.refused("run --rm -p 127.0.0.1:9090:80 busybox true");
        assert!(error.contains("address already in use"), "{error}");
        drop(listener);
        host.remove("web");
        assert_eq!(host.ask_from_host("127.0.0.1", 8080), "");
        host.ctr("network rm one");
        shell("ip link del uplink; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding");
    });
}

#[test]
fn networks_keep_to_themselves() {
    Host::test(|host| {
        shell(
            "ip link add uplink type veth peer name far && ip addr add 192.0.2.1/24 dev uplink && ip link set uplink up && ip link set far up",
        );
        host.ctr("network create --internal --subnet 10.7.0.0/24 inside");
        host.ctr("network create --subnet 10.8.0.0/24 -o com.docker.network.bridge.enable_icc=false quiet");
        host.ctr("network create --subnet 10.9.0.0/24 -o isolate=false open");
        host.ctr("network create --subnet 10.10.0.0/24 -o isolate=false wide");
        host.serve("in", 80, "--network inside -p 8080:80");
        host.start("in2", "--network inside");
        assert_eq!(host.ask("in2", "10.7.0.2", 80), "in");
        assert_eq!(host.ask("in2", "192.0.2.1", 80), "");
        assert_eq!(host.ctr("exec in busybox ip route").lines().count(), 1, "no way out");
        assert_eq!(host.ask_from_host("10.7.0.2", 80), "in");
        assert_eq!(host.ask_from_host("127.0.0.1", 8080), "", "nothing of it is published");
        host.serve("hushed", 80, "--network quiet");
        host.start("hushed2", "--network quiet");
        assert_eq!(host.ask("hushed2", "10.8.0.2", 80), "");
        assert_eq!(host.ask_from_host("10.8.0.2", 80), "hushed");
        host.serve("oo", 80, "--network open");
        host.start("ww", "--network wide");
        assert_eq!(host.ask("ww", "10.9.0.2", 80), "oo", "both gave up isolation");
        assert_eq!(host.ask("hushed2", "10.9.0.2", 80), "");
        // What others have in the packet filter stays.
        shell("nft add table inet theirs && nft add chain inet theirs c && nft add rule inet theirs c drop");
        host.remove("in in2 hushed hushed2 oo ww");
        assert!(shell("nft list ruleset").contains("table inet theirs"));
        shell("nft delete table inet theirs; ip link del uplink");
        host.ctr("network prune -f");
    });
}
