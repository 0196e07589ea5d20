//! The way up: named phases, then the loop that PID 1 spends its life in.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::cmdline::Cmdline;
use crate::console::say;
use crate::control::Request;
use crate::events::{Event, Events};
use crate::network::Plan;
use crate::shutdown::{self, Goal};
use crate::signals::Meaning;
use crate::supervise::{Id, State, Supervisor};
use crate::{
    cgroup, console, control_socket, early, launch, machine, mounts, network, reap, run, signals, state, sysctl, tuning,
};

/// Bring the machine up and keep it running. `start` is when `/init` was started.
pub fn boot(start: Duration) -> ! {
    let mut init = Init::new(start);
    init.phase("mounts", Init::mounts);
    init.phase("devices", Init::devices);
    init.phase("state", Init::state);
    init.phase("root", |_| state::lay_over_root());
    init.phase("config", Init::config);
    init.phase("network", Init::network);
    init.phase("units", Init::units);
    init.ready();
    loop {
        init.turn(None);
    }
}

struct Init {
    start: Duration,
    cmdline: Cmdline,
    events: Events,
    supervisor: Supervisor,
    network: Plan,
    /// The unit of `coracle.run=`; the machine goes down with it.
    run: Option<Id>,
}

impl Init {
    fn new(start: Duration) -> Self {
        Self {
            start,
            cmdline: Cmdline::default(),
            events: events(),
            supervisor: Supervisor::default(),
            network: Plan::Done,
            run: None,
        }
    }

    fn phase(&mut self, name: &str, run: impl FnOnce(&mut Self)) {
        let start = early::now();
        run(self);
        say(&format!("coracle: [{name}] {} ms", early::now().saturating_sub(start).as_millis()));
    }

    fn mounts(&mut self) {
        mounts::all();
        console::reopen();
        if let Err(error) = cgroup::lay_out() {
            say(&format!("coracle: cgroups: {error}"));
        }
        self.cmdline = Cmdline::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
        for mistake in &self.cmdline.mistakes {
            say(&format!("coracle: kernel parameter {mistake}"));
        }
        if !self.cmdline.debug {
            sysctl::quiet_console();
        }
    }

    /// The interface is brought up here and DHCP started, so that the answer comes while other phases run.
    fn devices(&mut self) {
        mounts::device_links();
        // Ctrl-Alt-Del is then a SIGINT to PID 1.
        let _ = nix::sys::reboot::set_cad_enabled(false);
        self.events.add_buttons();
        let _ = fs::create_dir_all(network::network_dir());
        self.network = network::bring_up(&self.cmdline.ip);
        if let Plan::Dhcp(device) = &self.network {
            self.supervisor.add(network::dhcp_client(device), early::now());
            self.start_due();
        }
    }

    fn state(&mut self) {
        if state::mount_var() {
            self.supervisor.add(state::grow_unit(), early::now());
        }
        machine::set_clock_forward();
    }

    fn config(&mut self) {
        sysctl::apply();
        machine::set_hostname(self.cmdline.ip.hostname.as_deref());
        machine::ensure_machine_id();
        machine::mount_shares(&self.cmdline.mounts);
        if let Err(error) = self.events.listen(&control_socket()) {
            say(&format!("coracle: poweroff and reboot work only with -f: {error:#}"));
        }
    }

    fn network(&mut self) {
        let Plan::Dhcp(device) = std::mem::replace(&mut self.network, Plan::Done) else { return };
        // First the watch, then the look: a lease that comes between is seen.
        let _ = self.events.watch(&network::network_dir());
        let start = early::now();
        loop {
            let waited = early::now().saturating_sub(start);
            if network::has_lease(&device) {
                break;
            }
            if waited >= network::PATIENCE || (waited >= network::CARRIER_PATIENCE && !network::has_carrier(&device)) {
                say(&format!("coracle: no lease for {device} yet; going on without"));
                break;
            }
            self.turn(Some(Duration::from_millis(500)));
        }
        self.events.unwatch();
    }

    /// Containers that come back with the machine are started beside the boot, which does not wait for them.
    fn units(&mut self) {
        if run::has_containers() {
            self.supervisor.add(run::autostart(), early::now());
        }
        self.start_due();
    }

    /// Say so, and give the machine to whoever it was started for.
    fn ready(&mut self) {
        self.phase("ready", |init| {
            let now = early::now();
            match &init.cmdline.run {
                Some(command) => init.run = Some(init.supervisor.add(run::unit(command), now)),
                None => {
                    for terminal in console::active() {
                        init.supervisor.add(console::getty(&terminal), now);
                    }
                }
            }
        });
        say(&format!("coracle: ready in {} ms", early::now().saturating_sub(self.start).as_millis()));
        self.start_due();
        tuning::settle(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
        machine::load_random_seed();
    }

    /// Wait for what happens next, at most for `timeout`, and deal with it.
    fn turn(&mut self, timeout: Option<Duration>) {
        let due = self.supervisor.next().map(|time| time.saturating_sub(early::now()));
        let timeout = [timeout, due].into_iter().flatten().min();
        for event in self.events.wait(timeout) {
            match event {
                Event::Signal(signal) => match signals::meaning(signal) {
                    // More than one may have ended: signals of one kind are not counted.
                    Meaning::Child => self.reap(),
                    Meaning::Go(goal) => self.go_down(goal),
                    Meaning::Nothing => {}
                },
                Event::PowerButton => self.go_down(Goal::PowerOff),
                Event::Request(client, Request::Status) => {
                    let status = self.status();
                    self.events.answer(client, &status);
                }
                Event::Request(client, Request::Go(goal)) => {
                    self.events.answer(client, "ok");
                    self.go_down(goal);
                }
            }
        }
        self.start_due();
    }

    fn start_due(&mut self) {
        for (id, unit) in self.supervisor.due(early::now()) {
            match launch::start(&unit) {
                Ok(pid) => self.supervisor.started(id, pid, early::now()),
                Err(error) => {
                    say(&format!("coracle: {}: {error:#}", unit.name));
                    self.supervisor.not_started(id, early::now());
                    self.end_run();
                }
            }
        }
    }

    fn reap(&mut self) {
        while let Some((pid, how)) = reap::next() {
            self.supervisor.ended(pid, how, early::now());
        }
        self.end_run();
    }

    /// If the command of `coracle.run=` is over, so is the machine's task.
    fn end_run(&mut self) {
        if let Some(State::Over(how)) = self.run.and_then(|id| self.supervisor.state(id)) {
            run::report(how);
            self.go_down(Goal::PowerOff);
        }
    }

    fn go_down(&mut self, goal: Goal) -> ! {
        self.supervisor.stop();
        shutdown::go(goal)
    }

    fn status(&self) -> String {
        let now = early::now();
        let mut text = String::from("ok");
        for (unit, state) in self.supervisor.units() {
            let state = match state {
                State::Waiting { .. } | State::Starting => "restarting".into(),
                State::Running { pid, since } => {
                    format!("running pid {pid} for {} s", now.saturating_sub(since).as_secs())
                }
                State::Over(how) => format!("ended with status {}", how.status()),
            };
            text.push_str(&format!("\n{} {state}", unit.name));
        }
        text
    }
}

/// Without its descriptors init cannot wait for anything: there is nothing to go on with until the kernel gives them.
fn events() -> Events {
    loop {
        match Events::new() {
            Ok(events) => return events,
            Err(error) => say(&format!("coracle: {error:#}; trying again")),
        }
        thread::sleep(Duration::from_secs(1));
    }
}
