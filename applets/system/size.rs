//! Sizes for people.

/// Bytes with a binary unit and at most three digits: `953M`, `1.2G`. `step` is 1024 or, for SI units, 1000.
pub fn human(bytes: u64, step: u64, units: &[&str]) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= step as f64 && unit + 1 < units.len() {
        value /= step as f64;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or_default();
    if unit == 0 || value >= 9.95 { format!("{value:.0}{name}") } else { format!("{value:.1}{name}") }
}

/// Units as lsblk and blkid have them.
pub const SHORT: &[&str] = &["B", "K", "M", "G", "T", "P", "E"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(human(0, 1024, SHORT), "0B");
        assert_eq!(human(1536, 1024, SHORT), "1.5K");
        assert_eq!(human(10 << 20, 1024, SHORT), "10M");
        assert_eq!(human(u64::MAX, 1024, SHORT), "16E");
    }
}
