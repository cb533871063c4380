//! A reader of TensorBoard event files that shares no code with the writer.

#![allow(clippy::cast_possible_truncation, reason = "sizes and pixels that fit")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Reads an event file by hand, record by record, with checksums of another library's making (bit by bit here): (step,
/// tag, value) of each scalar, (step, tag) with the number of values of each histogram, the images, the texts.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Events {
    pub(crate) scalars: Vec<(u64, String, f32)>,
    pub(crate) histograms: Vec<(u64, String, f64)>,
    pub(crate) images: Vec<(u64, String, Grey)>,
    pub(crate) texts: Vec<(u64, String, String)>,
}

/// A grey image: height, width and pixels.
pub(crate) type Grey = (u32, u32, Vec<u8>);

/// Decodes the PNG file of an image, and compares its size with that in the message.
fn decoded(image: &[u8]) -> Grey {
    let number = |number| u32::try_from(u64::from_le_bytes(field(image, number).unwrap().try_into().unwrap())).unwrap();
    let file = field(image, 4).unwrap();
    let mut chunks = file.strip_prefix(b"\x89PNG\r\n\x1a\n").unwrap();
    let (mut head, mut compressed) = (Vec::new(), Vec::new());
    while !chunks.is_empty() {
        let length = u32::from_be_bytes(chunks[..4].try_into().unwrap()) as usize;
        let data = &chunks[8..8 + length];
        match &chunks[4..8] {
            b"IHDR" => head.extend(data),
            b"IDAT" => compressed.extend(data),
            other => assert_eq!(other, b"IEND"),
        }
        chunks = &chunks[12 + length..];
    }
    // Eight bits, grey, not interlaced.
    assert_eq!(head[8..], [8, 0, 0, 0, 0]);
    let size = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
    let (width, height) = (size(0), size(4));
    assert_eq!((number(1), number(2), number(3)), (height, width, 1));
    let mut rows = Vec::new();
    flate2::read::ZlibDecoder::new(&compressed[..]).read_to_end(&mut rows).unwrap();
    let width = width as usize;
    assert_eq!(rows.len(), height as usize * (1 + width));
    let mut pixels: Vec<u8> = Vec::new();
    for row in rows.chunks_exact(1 + width) {
        for (x, &byte) in row[1..].iter().enumerate() {
            let at = |back: usize| if back > pixels.len() { 0 } else { pixels[pixels.len() - back] };
            let (left, above) = (if x > 0 { at(1) } else { 0 }, at(width));
            let corner = if x > 0 { at(width + 1) } else { 0 };
            pixels.push(byte.wrapping_add(predicted(row[0], left, above, corner)));
        }
    }
    (height, width as u32, pixels)
}

/// What a filter of PNG predicts for a pixel.
fn predicted(filter: u8, left: u8, above: u8, corner: u8) -> u8 {
    match filter {
        0 => 0,
        1 => left,
        2 => above,
        3 => left.midpoint(above),
        4 => {
            let estimate = i16::from(left) + i16::from(above) - i16::from(corner);
            [left, above, corner].into_iter().min_by_key(|&pixel| (estimate - i16::from(pixel)).abs()).unwrap()
        }
        other => panic!("filter {other}"),
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1))))
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (&byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// The fields of a protobuf message: number and bytes; numbers as eight bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut message).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)).unwrap(),
            5 => 4,
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, message[..length].to_vec()));
        message = &message[length..];
    }
    found
}

fn field(message: &[u8], number: u64) -> Option<Vec<u8>> {
    fields(message).into_iter().find(|field| field.0 == number).map(|field| field.1)
}

pub(crate) fn read_folder(folder: &Path) -> Events {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut events = Events::default();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        // What a writer that was killed has left; TensorBoard does not read it either.
        if name.starts_with(".cyclic-optim-") && name.ends_with(".partial") {
            continue;
        }
        assert!(name.contains("tfevents"), "{name}");
        read_into(&fs::read(file).unwrap(), &mut events);
    }
    events
}

pub(crate) fn read_into(mut bytes: &[u8], events: &mut Events) {
    let mut first = true;
    while !bytes.is_empty() {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert_eq!(bytes[8..12], masked(&bytes[..8]).to_le_bytes());
        let end = 12 + usize::try_from(length).unwrap();
        let message = &bytes[12..end];
        assert_eq!(bytes[end..end + 4], masked(message).to_le_bytes());
        bytes = &bytes[end + 4..];
        assert!(f64::from_le_bytes(field(message, 1).unwrap().try_into().unwrap()) > 1.7e9, "wall time");
        if std::mem::take(&mut first) {
            assert_eq!(field(message, 3).unwrap(), b"brain.Event:2");
            continue;
        }
        let step = field(message, 2).map_or(0, |step| u64::from_le_bytes(step.try_into().unwrap()));
        for (_, value) in fields(&field(message, 5).unwrap()) {
            let tag = String::from_utf8(field(&value, 1).unwrap()).unwrap();
            if let Some(simple) = field(&value, 2) {
                events.scalars.push((step, tag, f32::from_le_bytes(simple.try_into().unwrap())));
            } else if let Some(histogram) = field(&value, 5) {
                let number = f64::from_le_bytes(field(&histogram, 3).unwrap().try_into().unwrap());
                events.histograms.push((step, tag, number));
            } else if let Some(image) = field(&value, 4) {
                events.images.push((step, tag, decoded(&image)));
            } else {
                let tensor = field(&value, 8).unwrap();
                let plugin = field(&field(&value, 9).unwrap(), 1).unwrap();
                assert_eq!(field(&plugin, 1).unwrap(), b"text");
                events.texts.push((step, tag, String::from_utf8(field(&tensor, 8).unwrap()).unwrap()));
            }
        }
    }
}
