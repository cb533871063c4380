//! Numbers as a grey image.

use std::io::{Error, ErrorKind};

use png::{BitDepth, ColorType, Encoder};

use super::event::Image;

/// The image of `values`, row by row.
pub(super) fn image((rows, columns): (usize, usize), values: &[f64]) -> Result<Image, Error> {
    let wrong = |problem: String| Error::new(ErrorKind::InvalidInput, problem);
    if rows == 0 || columns == 0 {
        return Err(wrong(format!("an image needs rows and columns, got {rows} and {columns}")));
    }
    if rows.checked_mul(columns) != Some(values.len()) {
        let count = values.len();
        return Err(wrong(format!("{count} values do not fill an image of {rows} rows and {columns} columns")));
    }
    let size = |length: usize| i32::try_from(length).map_err(|_| wrong(format!("{length} pixels are too many")));
    let (height, width) = (size(rows)?, size(columns)?);
    let encoded = encode(height.unsigned_abs(), width.unsigned_abs(), &pixels(values))?;
    Ok(Image { height, width, colorspace: 1, encoded })
}

/// From 0 for the smallest finite value to 255 for the largest.
fn pixels(values: &[f64]) -> Vec<u8> {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let (min, max) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), v| (min.min(v), max.max(v)));
    // Halved, because `max - min` may overflow.
    let range = max / 2.0 - min / 2.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
    let grey = |value: &f64| {
        if value.is_finite() && range > 0.0 { ((value / 2.0 - min / 2.0) / range * 255.0).round() as u8 } else { 0 }
    };
    values.iter().map(grey).collect()
}

/// A PNG file.
fn encode(height: u32, width: u32, pixels: &[u8]) -> Result<Vec<u8>, Error> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_shades_of_grey() {
        assert_eq!(pixels(&[-1.0, 0.0, 1.0, f64::NAN, f64::INFINITY, 0.5]), [0, 128, 255, 0, 0, 191]);
        assert_eq!(pixels(&[f64::MIN, 0.0, f64::MAX]), [0, 128, 255]);
        assert_eq!(pixels(&[2.5; 3]), [0; 3]);
        assert_eq!(pixels(&[f64::NAN; 2]), [0; 2]);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        for (shape, values) in [((0, 3), 0), ((3, 0), 0), ((2, 3), 5), ((usize::MAX, 2), 5)] {
            let error = image(shape, &vec![0.0; values]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{shape:?}");
        }
    }
}
