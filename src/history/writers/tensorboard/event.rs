//! The messages of an event file that this crate writes, and how they are framed.
//!
//! The fields and their numbers are those of TensorFlow's `event.proto`, `summary.proto`, `tensor.proto` and
//! `tensor_shape.proto`. A record is
//!
//! ```text
//! length: u64   masked CRC-32C of the length: u32   message   masked CRC-32C of the message: u32      (little endian)
//! mask(c) = rotate_right(c, 15) + 0xa282ead8
//! ```

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    #[prost(double, tag = "1")]
    pub(super) wall_time: f64,
    #[prost(int64, tag = "2")]
    pub(super) step: i64,
    #[prost(oneof = "What", tags = "3, 5")]
    pub(super) what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub(super) value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(string, tag = "1")]
    pub(super) tag: String,
    #[prost(message, optional, tag = "9")]
    pub(super) metadata: Option<Metadata>,
    #[prost(oneof = "Data", tags = "2, 4, 5, 8")]
    pub(super) data: Option<Data>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Data {
    #[prost(float, tag = "2")]
    Simple(f32),
    #[prost(message, tag = "4")]
    Image(Image),
    #[prost(message, tag = "5")]
    Histogram(Histogram),
    #[prost(message, tag = "8")]
    Tensor(Tensor),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Image {
    #[prost(int32, tag = "1")]
    pub(super) height: i32,
    #[prost(int32, tag = "2")]
    pub(super) width: i32,
    /// 1 is grey.
    #[prost(int32, tag = "3")]
    pub(super) colorspace: i32,
    /// The bytes of a PNG file.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) encoded: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(message, optional, tag = "1")]
    pub(super) plugin: Option<Plugin>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Plugin {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(double, tag = "1")]
    pub(super) min: f64,
    #[prost(double, tag = "2")]
    pub(super) max: f64,
    #[prost(double, tag = "3")]
    pub(super) num: f64,
    #[prost(double, tag = "4")]
    pub(super) sum: f64,
    #[prost(double, tag = "5")]
    pub(super) sum_squares: f64,
    /// The upper limit of each bucket.
    #[prost(double, repeated, tag = "6")]
    pub(super) bucket_limit: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    pub(super) bucket: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    /// 7 is a string.
    #[prost(int32, tag = "1")]
    pub(super) dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) shape: Option<Shape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub(super) string_val: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Shape {
    #[prost(message, repeated, tag = "2")]
    pub(super) dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Dim {
    #[prost(int64, tag = "1")]
    pub(super) size: i64,
}

impl Value {
    pub(super) fn scalar(tag: String, value: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "TensorBoard reads single precision")]
        let value = value as f32;
        Self { tag, metadata: None, data: Some(Data::Simple(value)) }
    }

    pub(super) fn text(tag: String, text: &str) -> Self {
        let tensor =
            Tensor { dtype: 7, shape: Some(Shape { dim: vec![Dim { size: 1 }] }), string_val: vec![text.into()] };
        let plugin = Some(Plugin { name: "text".into() });
        Self { tag, metadata: Some(Metadata { plugin }), data: Some(Data::Tensor(tensor)) }
    }

    pub(super) fn image(tag: String, image: Image) -> Self {
        Self { tag, metadata: None, data: Some(Data::Image(image)) }
    }

    pub(super) fn histogram(tag: String, values: &[f64]) -> Self {
        Self { tag, metadata: None, data: Some(Data::Histogram(Histogram::of(values))) }
    }
}

/// The number of buckets of a histogram.
const BUCKETS: usize = 30;

impl Histogram {
    /// A histogram of the finite values, with 30 buckets of equal width.
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bucket of 30")]
    fn of(values: &[f64]) -> Self {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (min, max) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), v| (min.min(v), max.max(v)));
        if min > max {
            return Self::default();
        }
        // Halved, because `max - min` may overflow.
        let width = (max / 2.0 - min / 2.0) / (BUCKETS as f64 / 2.0);
        let mut bucket = vec![0.0; BUCKETS];
        for value in finite() {
            let place = if width > 0.0 { (value / width - min / width) as usize } else { 0 };
            bucket[place.min(BUCKETS - 1)] += 1.0;
        }
        let mut bucket_limit: Vec<f64> = (1..=BUCKETS).map(|n| min + width * n as f64).collect();
        bucket_limit[BUCKETS - 1] = max;
        Self {
            min,
            max,
            num: finite().count() as f64,
            sum: finite().sum(),
            sum_squares: finite().map(|value| value * value).sum(),
            bucket_limit,
            bucket,
        }
    }
}

/// A message in its frame.
pub(super) fn framed(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(message.len() + 16);
    record.extend(length);
    record.extend(checksum(&length).to_le_bytes());
    record.extend(&message);
    record.extend(checksum(&message).to_le_bytes());
    record
}

pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The event at the beginning of `bytes`, and the length of its record; `None` if the record is incomplete or damaged.
pub(super) fn unframed(bytes: &[u8]) -> Option<(Event, usize)> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (length_sum, rest) = rest.split_first_chunk::<4>()?;
    if checksum(length) != u32::from_le_bytes(*length_sum) {
        return None;
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let message = rest.get(..length)?;
    let (sum, _) = rest[length..].split_first_chunk::<4>()?;
    let sound = checksum(message) == u32::from_le_bytes(*sum);
    let event = sound.then(|| Event::decode(message).ok()).flatten()?;
    Some((event, length + 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every event file of TensorFlow begins with this record.
    #[test]
    fn the_first_record_has_the_bytes_of_tensorflow() {
        let event = Event { wall_time: 0.0, step: 0, what: Some(What::FileVersion("brain.Event:2".into())) };
        let record = framed(&event);
        assert_eq!(record[..8], 15_u64.to_le_bytes());
        assert_eq!(&record[12..27], b"\x1a\x0dbrain.Event:2");
        assert_eq!(unframed(&record), Some((event, 31)));
    }

    /// The check value of CRC-32C (RFC 3720) is 0xe3069283. Its mask was calculated by hand.
    #[test]
    fn the_checksum_is_masked() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8));
        assert_eq!(checksum(b"123456789"), 0xc78a_b0e5);
    }

    #[test]
    fn a_histogram_counts_every_finite_value_once() {
        let values: Vec<f64> = (0..=300).map(f64::from).chain([f64::NAN, f64::INFINITY]).collect();
        let histogram = Histogram::of(&values);
        assert_eq!((histogram.min, histogram.max, histogram.num), (0.0, 300.0, 301.0));
        assert_eq!(histogram.bucket.iter().sum::<f64>(), 301.0);
        assert_eq!((histogram.bucket[0], histogram.bucket[29], histogram.bucket_limit[0]), (10.0, 11.0, 10.0));
        assert_eq!(Histogram::of(&[2.5; 4]).bucket[0], 4.0);
        assert_eq!(Histogram::of(&[f64::NAN]), Histogram::default());
        assert_eq!(Histogram::of(&[f64::MIN, f64::MAX]).bucket.iter().sum::<f64>(), 2.0);
    }

    #[test]
    fn damaged_bytes_are_not_an_event() {
        let event = Event { wall_time: 1.5, step: 7, what: Some(What::Summary(Summary::default())) };
        let record = framed(&event);
        for n in 0..record.len() {
            assert_eq!(unframed(&record[..n]), None, "cut at {n}");
            let mut damaged = record.clone();
            damaged[n] ^= 0x10;
            assert_eq!(unframed(&damaged), None, "flipped at {n}");
        }
    }
}
