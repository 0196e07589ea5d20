//! `hwclock`: the battery-backed clock (util-linux hwclock(8)). It is always UTC here.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Parser;
use coracle_abi::rtc::{self, RtcTime};

use super::clock::Date;
use crate::common;
use crate::registry::{Applet, Dir};

/// `hwclock`.
pub const APPLET: Applet =
    Applet { name: "hwclock", aliases: &[], dir: Dir::Sbin, summary: "read or set the battery-backed clock", run };

/// How long to wait for the clock's next second.
const PATIENCE: Duration = Duration::from_millis(1500);

#[derive(Parser)]
#[command(name = "hwclock", about = "Read or set the battery-backed clock, which keeps UTC")]
struct Options {
    /// Show it (the default)
    #[arg(short = 'r', long, group = "what")]
    show: bool,
    /// Set it from the system's clock
    #[arg(short = 'w', long, group = "what")]
    systohc: bool,
    /// Set the system's clock from it
    #[arg(short = 's', long, group = "what")]
    hctosys: bool,
    /// It keeps UTC, as it always does here
    #[arg(short, long)]
    utc: bool,
    /// The clock
    #[arg(short = 'f', long, value_name = "DEVICE")]
    rtc: Option<PathBuf>,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 1, |_, options: Options| work(&options).map(|()| 0))
}

fn work(options: &Options) -> anyhow::Result<()> {
    // Said or not, there is no other way: nothing hangs on it.
    let Options { show: _, utc: _, .. } = options;
    let (clock, path) = open(options.rtc.as_deref())?;
    let shown = path.display();
    if options.systohc {
        // The clock begins a new second when it is set.
        let now = since_epoch()?;
        std::thread::sleep(Duration::from_nanos(1_000_000_000 - u64::from(now.subsec_nanos())));
        let time = to_rtc(Date::from_unix(i64::try_from(since_epoch()?.as_secs())?));
        return rtc::set(&clock, &time).with_context(|| format!("{shown}: cannot set the clock"));
    }
    let time = next_second(&clock).with_context(|| format!("{shown}: cannot read the clock"))?;
    let date = from_rtc(time).with_context(|| format!("{shown}: the clock holds no valid time"))?;
    if options.hctosys {
        let time = rustix::time::Timespec { tv_sec: date.to_unix(), tv_nsec: 0 };
        rustix::time::clock_settime(rustix::time::ClockId::Realtime, time).context("cannot set the system's clock")?;
        return Ok(());
    }
    let Date { year, month, day, hour, minute, second, .. } = date;
    writeln!(io::stdout(), "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}+00:00")?;
    Ok(())
}

fn open(path: Option<&Path>) -> anyhow::Result<(File, PathBuf)> {
    let candidates = match path {
        Some(path) => vec![path.to_owned()],
        None => ["/dev/rtc", "/dev/rtc0", "/dev/misc/rtc"].map(PathBuf::from).to_vec(),
    };
    for candidate in &candidates {
        match File::open(candidate) {
            Ok(file) => return Ok((file, candidate.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_none() => {}
            Err(error) => return Err(error).with_context(|| format!("{}: cannot open", candidate.display())),
        }
    }
    anyhow::bail!("there is no clock: none of {candidates:?} exists")
}

fn since_epoch() -> anyhow::Result<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).context("the system's clock is before 1970")
}

/// Read the clock when its second has just begun: it tells no parts of one.
fn next_second(clock: &File) -> io::Result<RtcTime> {
    let first = rtc::read(clock)?;
    let start = std::time::Instant::now();
    loop {
        let now = rtc::read(clock)?;
        if now.second != first.second || start.elapsed() > PATIENCE {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn from_rtc(time: RtcTime) -> Option<Date> {
    let part = |value: i32, range: std::ops::RangeInclusive<i32>| range.contains(&value).then_some(value as u32);
    Some(Date {
        year: i64::from(time.year) + 1900,
        month: part(time.month, 0..=11)? + 1,
        day: part(time.day, 1..=31)?,
        hour: part(time.hour, 0..=23)?,
        minute: part(time.minute, 0..=59)?,
        second: part(time.second, 0..=60)?,
        weekday: 0,
    })
}

fn to_rtc(date: Date) -> RtcTime {
    RtcTime {
        second: date.second as i32,
        minute: date.minute as i32,
        hour: date.hour as i32,
        day: date.day as i32,
        month: date.month as i32 - 1,
        year: (date.year - 1900) as i32,
        ..RtcTime::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let date = Date::from_unix(951_827_696);
        let time = to_rtc(date);
        assert_eq!((time.year, time.month, time.day), (100, 1, 29));
        assert_eq!(from_rtc(time).unwrap().to_unix(), 951_827_696);
        assert!(from_rtc(RtcTime { month: 12, ..time }).is_none());
        assert!(from_rtc(RtcTime::default()).is_none());
    }
}
