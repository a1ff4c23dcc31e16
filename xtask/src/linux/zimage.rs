//! From Debian's zImage to the raw Image, and to the form QEMU loads.
//!
//! A zImage is a small program followed by the kernel as an xz stream (with the ARM
//! filter, which is why the `xz` program unpacks it). QEMU puts a raw file at an address
//! this kernel cannot run at, so for bare machines a legacy U-Boot header names the right
//! one.

use anyhow::{Context, Result, bail};
use std::io::Write;
use std::process::{Command, Stdio};

/// First bytes of an xz stream.
const XZ: &[u8] = b"\xfd7zXZ\0";
/// `arch/arm/Makefile`: what a kernel that includes Qualcomm's platforms is linked at.
const TEXT_OFFSET: u32 = 0x0020_8000;

/// Unpacks the kernel inside a zImage.
///
/// # Errors
///
/// When no complete xz stream is found.
pub(super) fn decompress(zimage: &[u8]) -> Result<Vec<u8>> {
    let starts = zimage.windows(XZ.len()).enumerate().filter(|(_, bytes)| *bytes == XZ);
    for (start, _) in starts {
        // The decompressor itself holds the magic bytes too: take the first that works.
        if let Some(image) = zimage.get(start..).map(xz).transpose()?.flatten() {
            return Ok(image);
        }
    }
    bail!("the kernel is not a zImage with an xz stream")
}

fn xz(stream: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut child = Command::new("xz")
        .args(["--decompress", "--stdout", "--single-stream", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run xz")?;
    let mut input = child.stdin.take().context("xz has no input")?;
    let stream = stream.to_vec();
    // A wrong start ends xz early; its input then breaks, which is not our mistake.
    let feeder = std::thread::spawn(move || drop(input.write_all(&stream)));
    let output = child.wait_with_output()?;
    let _ = feeder.join();
    // What follows the stream in a zImage makes xz fail after it wrote everything.
    Ok((output.stdout.len() > stream_is_a_kernel()).then_some(output.stdout))
}

/// No kernel is smaller than this; noise that starts like xz yields less.
const fn stream_is_a_kernel() -> usize {
    1 << 20
}

/// Puts the header in front that makes QEMU load the kernel where it can run.
///
/// # Errors
///
/// When the image does not fit 32 bits.
pub(super) fn to_uimage(image: &[u8], ram: u32) -> Result<Vec<u8>> {
    const MAGIC: u32 = 0x2705_1956;
    /// Operating system Linux, architecture ARM, type kernel, no compression.
    const KIND: [u8; 4] = [5, 2, 2, 0];
    let load = ram + TEXT_OFFSET;
    let words = |checksum: u32| -> Result<Vec<u8>> {
        let size = u32::try_from(image.len())?;
        let mut header = Vec::new();
        for word in [MAGIC, checksum, 0, size, load, load, crc32(image)] {
            header.extend(word.to_be_bytes());
        }
        header.extend(KIND);
        header.extend([0; 32]);
        Ok(header)
    };
    let mut file = words(crc32(&words(0)?))?;
    file.extend(image);
    Ok(file)
}

/// The CRC-32 of IEEE 802.3, reflected, a byte at a time.
fn crc32(bytes: &[u8]) -> u32 {
    let shift = |crc: u32| (0..8).fold(crc, |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)));
    let table: Vec<u32> = (0..=0xff).map(shift).collect();
    let step = |crc: u32, byte: &u8| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ table.get(usize::from(low ^ byte)).copied().unwrap_or_default()
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn noise_is_no_kernel() {
        assert!(decompress(b"\xfd7zXZ\0 and nothing behind it").is_err());
    }
}
