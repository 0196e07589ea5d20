//! The battery-backed clock (rtc(4)).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `RTC_RD_TIME` of linux/rtc.h: `_IOR('p', 9, struct rtc_time)`.
const RTC_RD_TIME: u32 = 0x8024_7009;
/// `RTC_SET_TIME`: `_IOW('p', 10, struct rtc_time)`.
const RTC_SET_TIME: u32 = 0x4024_700a;

/// `struct rtc_time`: as `struct tm`, but only these nine numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtcTime {
    /// 0 to 59.
    pub second: i32,
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 23.
    pub hour: i32,
    /// Day of the month, from 1.
    pub day: i32,
    /// From 0.
    pub month: i32,
    /// Since 1900.
    pub year: i32,
    /// Unused by the kernel.
    pub weekday: i32,
    /// Unused by the kernel.
    pub year_day: i32,
    /// Unused by the kernel.
    pub daylight_saving: i32,
}

/// Read the clock.
///
/// # Errors
/// `EINVAL` if it holds no valid time, `ENOTTY` if it is no clock.
pub fn read(rtc: impl AsFd) -> io::Result<RtcTime> {
    let mut time = RtcTime::default();
    // SAFETY: RTC_RD_TIME writes one rtc_time, which outlives the call.
    let result = unsafe { libc::ioctl(rtc.as_fd().as_raw_fd(), RTC_RD_TIME as _, &raw mut time) };
    if result == 0 { Ok(time) } else { Err(io::Error::last_os_error()) }
}

/// Set the clock.
///
/// # Errors
/// `EINVAL` if it cannot hold that time, `EPERM` without CAP_SYS_TIME, `ENOTTY` if it is no clock.
pub fn set(rtc: impl AsFd, time: &RtcTime) -> io::Result<()> {
    // SAFETY: RTC_SET_TIME reads one rtc_time, which outlives the call.
    let result = unsafe { libc::ioctl(rtc.as_fd().as_raw_fd(), RTC_SET_TIME as _, std::ptr::from_ref(time)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_the_kernels_and_a_file_is_no_clock() {
        assert_eq!(size_of::<RtcTime>(), 36);
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(read(&null).is_err());
        assert!(set(&null, &RtcTime::default()).is_err());
    }
}
