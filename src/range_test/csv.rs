//! Writes loss curves as CSV.

use std::io;

use super::{LossCurve, LossPoint, WeightDecayGrid};
use crate::csv_number::csv_number;

impl LossCurve {
    /// Writes the header `learning_rate,loss,validation_loss` and a line for each point. A missing validation loss is an empty field.
    ///
    /// ```
    /// # use cyclic_optim::range_test::RangeTest;
    /// let curve = RangeTest::linear(0.0, 0.5, 2)?.run(|lr| Some(1.0 - lr))?;
    /// let mut text = Vec::new();
    /// curve.write_csv(&mut text)?;
    /// assert_eq!(text, b"learning_rate,loss,validation_loss\n0.0,1.0,\n0.5,0.5,\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Errors of the writer.
    pub fn write_csv(&self, writer: impl io::Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_record(["learning_rate", "loss", "validation_loss"])?;
        for point in self.points() {
            csv.write_record(fields(point))?;
        }
        csv.flush()
    }
}

impl WeightDecayGrid {
    /// Writes the header `weight_decay,learning_rate,loss,validation_loss` and a line for each point of each curve.
    ///
    /// # Errors
    ///
    /// Errors of the writer.
    pub fn write_csv(&self, writer: impl io::Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_record(["weight_decay", "learning_rate", "loss", "validation_loss"])?;
        for entry in self.entries() {
            for point in entry.curve.points() {
                csv.write_field(csv_number(entry.weight_decay))?;
                csv.write_record(fields(point))?;
            }
        }
        csv.flush()
    }
}

fn fields(point: &LossPoint) -> [String; 3] {
    [csv_number(point.lr), csv_number(point.loss), point.validation.map_or(String::new(), csv_number)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range_test::{RangeTest, StopReason};

    #[test]
    fn values_that_are_not_finite_are_written() {
        let points = vec![LossPoint { lr: 1e-7, loss: f64::NAN, validation: Some(f64::INFINITY) }];
        let curve = LossCurve::new(points, StopReason::NotFinite);
        let mut text = Vec::new();
        curve.write_csv(&mut text).unwrap();
        assert_eq!(text, b"learning_rate,loss,validation_loss\n1e-7,NaN,inf\n");
        let mut text = Vec::new();
        LossCurve::new(vec![], StopReason::NoMoreBatches).write_csv(&mut text).unwrap();
        assert_eq!(text, b"learning_rate,loss,validation_loss\n");
    }

    #[test]
    fn a_grid_has_a_line_for_each_point() {
        let test = RangeTest::linear(0.0, 1.0, 2).unwrap();
        let sweep = |weight_decay| test.run(|lr| Ok::<_, ()>(Some(lr + weight_decay)));
        let grid = WeightDecayGrid::run(&[0.0, 0.5], sweep).unwrap();
        let mut text = Vec::new();
        grid.write_csv(&mut text).unwrap();
        let expected =
            "weight_decay,learning_rate,loss,validation_loss\n0.0,0.0,0.0,\n0.0,1.0,1.0,\n0.5,0.0,0.5,\n0.5,1.0,1.5,\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn a_failing_writer_is_an_error() {
        struct Full;
        impl io::Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let curve = RangeTest::linear(0.0, 1.0, 2).unwrap().run(|lr| Ok::<_, ()>(Some(lr))).unwrap();
        assert_eq!(curve.write_csv(Full).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
