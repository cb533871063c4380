//! The weights of the first layer as a picture.

use cyclic_optim::adapters::dfdx::named_parameters;
use dfdx::prelude::Cpu;

use crate::support::digits::Mlp;

/// Tiles beside each other.
const ACROSS: usize = 8;

/// The weights of each unit as a tile that has the form of an image, with a black line around it; where images are not square,
/// a row for each unit. Rows and columns, and the values row by row.
pub(crate) fn of_first_layer(model: &Mlp) -> ((usize, usize), Vec<f64>) {
    let mut parameters = named_parameters::<_, f32, Cpu>(model).into_iter();
    let (weights, biases) = match (parameters.next(), parameters.next()) {
        (Some((_, weights)), Some((_, biases))) => (weights, biases),
        _ => Default::default(),
    };
    let units = biases.len();
    let pixels = weights.len() / units.max(1);
    let side = pixels.isqrt();
    if side * side != pixels {
        return ((units, pixels), weights);
    }
    let (rows, columns) = (units.div_ceil(ACROSS) * (side + 1) + 1, ACROSS * (side + 1) + 1);
    let mut values = vec![f64::NAN; rows * columns];
    for (unit, tile) in weights.chunks_exact(pixels).enumerate() {
        let (top, left) = (unit / ACROSS * (side + 1) + 1, unit % ACROSS * (side + 1) + 1);
        for (y, row) in tile.chunks_exact(side).enumerate() {
            let start = (top + y) * columns + left;
            values[start..start + side].copy_from_slice(row);
        }
    }
    ((rows, columns), values)
}
