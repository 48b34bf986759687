//! LOC: a place on earth (RFC 1876).

use std::fmt::Write as _;

use super::Reader;

/// The equator and the meridian of Greenwich, in thousandths of a second of arc (RFC 1876 section 2).
const ZERO: u32 = 1 << 31;
/// Centimetres from the lowest altitude to that of the ellipsoid.
const ELLIPSOID: i64 = 100_000 * 100;

/// As RFC 1876 section 3 has it: `51 30 12.748 N 0 7 39.612 W 0.00m 1m 10000m 10m`.
pub(super) fn write(reader: &mut Reader<'_>, out: &mut String) -> Option<()> {
    let [version, size, horizontal, vertical] = reader.array()?;
    let (latitude, longitude, altitude) = (reader.u32()?, reader.u32()?, reader.u32()?);
    if version != 0 {
        return None;
    }
    out.push_str(&angle(latitude, 90, ["N", "S"])?);
    out.push(' ');
    out.push_str(&angle(longitude, 180, ["E", "W"])?);
    let altitude = i64::from(altitude) - ELLIPSOID;
    let sign = if altitude < 0 { "-" } else { "" };
    write!(out, " {sign}{}.{:02}m", altitude.abs() / 100, altitude.abs() % 100).ok()?;
    for precision in [size, horizontal, vertical] {
        match centimetres(precision)? {
            whole if whole.is_multiple_of(100) => write!(out, " {}m", whole / 100).ok()?,
            other => write!(out, " {}.{:02}m", other / 100, other % 100).ok()?,
        }
    }
    Some(())
}

fn angle(thousandths: u32, most_degrees: u32, [positive, negative]: [&str; 2]) -> Option<String> {
    let side = if thousandths >= ZERO { positive } else { negative };
    let distance = thousandths.abs_diff(ZERO);
    let (minutes, thousandths) = (distance / 60_000, distance % 60_000);
    let text =
        format!("{} {} {}.{:03} {side}", minutes / 60, minutes % 60, thousandths / 1000, thousandths % 1000);
    (distance <= most_degrees * 3_600_000).then_some(text)
}

/// Two digits: the first times ten to the power of the second.
fn centimetres(precision: u8) -> Option<u64> {
    let (base, power) = (precision >> 4, precision & 0x0f);
    (base <= 9 && power <= 9).then(|| u64::from(base) * 10_u64.pow(power.into()))
}
