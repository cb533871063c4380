//! The points of a line that are drawn.

use super::{Points, bounds};

/// The number of points above which a line is thinned. More points than pixels make the file large but not clearer.
pub(crate) const SHOWN: usize = 2000;

/// The points or, if they are too many, the first and the last, and the lowest and the highest of each stretch, so that no spike
/// gets lost.
pub(super) fn thinned(points: &[(f64, f64)]) -> Points {
    let (Some(first), Some(last), true) = (points.first(), points.last(), points.len() > SHOWN) else {
        return points.into();
    };
    let mut kept = Points::with_capacity(SHOWN + 2);
    kept.push(*first);
    for stretch in points.chunks(points.len().div_ceil(SHOWN / 2)) {
        let by_height = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let ends = stretch.iter().min_by(by_height).into_iter().chain(stretch.iter().max_by(by_height));
        let at = kept.len();
        kept.extend(ends.copied());
        kept[at..].sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    kept.push(*last);
    kept.dedup();
    kept
}

/// The points of a value that holds until the next point, with a corner at each jump: a slope there would say that values between
/// were used. A jump is ten times as high as the steps beside it, and a hundredth of all.
pub(crate) fn with_jumps(points: &[(f64, f64)]) -> Points {
    let (low, high) = bounds(points.iter().map(|point| point.1)).unwrap_or_default();
    let step = |n: usize| Some((points.get(n)?.1 - points.get(n.checked_sub(1)?)?.1).abs());
    let jumps = |n: usize| {
        let beside = [n.checked_sub(1).and_then(step), step(n + 1)].into_iter().flatten().reduce(f64::max);
        let jump = step(n).filter(|step| *step > (high - low) / 100.0);
        beside.zip(jump).is_some_and(|(beside, jump)| jump > 10.0 * beside)
    };
    let corner = |n: usize| jumps(n).then(|| (points[n].0, points[n - 1].1));
    points.iter().enumerate().flat_map(|(n, &point)| corner(n).into_iter().chain([point])).collect()
}

/// The parts of a line up to a height. Where the line passes the height, a part ends or begins at it. `logarithmic` says whether
/// the x axis is.
pub(super) fn up_to(points: &[(f64, f64)], height: f64, logarithmic: bool) -> Vec<Points> {
    let mut parts = Vec::new();
    let mut part = Points::new();
    for (n, &(x, y)) in points.iter().enumerate() {
        let before = n.checked_sub(1).map(|before| points[before]);
        if let Some(before) = before.filter(|before| (before.1 <= height) != (y <= height)) {
            let share = (height - before.1) / (y - before.1);
            let crossing =
                if logarithmic { before.0 * (x / before.0).powf(share) } else { before.0 + (x - before.0) * share };
            part.push((crossing, height));
        }
        if y <= height {
            part.push((x, y));
        } else if !part.is_empty() {
            parts.push(std::mem::take(&mut part));
        }
    }
    parts.extend(Some(part).filter(|part| !part.is_empty()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spike_gets_lost() {
        let mut points: Points = (0..1_000_000).map(|n| (f64::from(n), 0.0)).collect();
        points[777_777].1 = 9.0;
        points[123_456].1 = -9.0;
        // The ends are the lowest and the highest of no stretch.
        for (n, y) in [(1, 1.0), (2, -1.0), (999_997, 1.0), (999_998, -1.0)] {
            points[n].1 = y;
        }
        let thin = thinned(&points);
        assert!(thin.len() <= SHOWN + 2 && thin.is_sorted_by(|a, b| a.0 < b.0), "{}", thin.len());
        assert_eq!(bounds(thin.iter().map(|point| point.1)), Some((-9.0, 9.0)));
        assert_eq!((thin[0], thin[thin.len() - 1]), (points[0], points[999_999]));
        assert_eq!(thinned(&points[..SHOWN]), points[..SHOWN]);
    }

    #[test]
    fn a_jump_has_a_corner_and_a_turn_has_none() {
        let line = |heights: &[f64]| heights.iter().zip(0_u8..).map(|(y, x)| (f64::from(x), *y)).collect::<Points>();
        for smooth in
            [&[][..], &[1.0], &[1.0, 0.0], &[0.0, 1.0, 2.0, 1.0, 0.0, 1.0], &[1.0, 1.0, 1.0], &[4.0, 2.0, 1.0, 0.5]]
        {
            assert_eq!(with_jumps(&line(smooth)), line(smooth));
        }
        assert_eq!(
            with_jumps(&line(&[1.0, 1.0, 0.5, 0.5])),
            [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (2.0, 0.5), (3.0, 0.5)]
        );
        let restart: Points = (0..20).map(|n| (f64::from(n), 1.0 + (f64::from(n % 10) * 0.314).cos())).collect();
        let drawn = with_jumps(&restart);
        assert_eq!(drawn.len(), 21);
        assert_eq!(drawn[10], (10.0, restart[9].1));
    }

    #[test]
    fn a_line_ends_where_it_leaves_the_chart() {
        let line = [(0.0, 1.0), (1.0, 3.0), (2.0, 5.0), (3.0, 1.0), (4.0, 9.0)];
        let parts = up_to(&line, 2.0, false);
        assert_eq!(parts, [vec![(0.0, 1.0), (0.5, 2.0)], vec![(2.75, 2.0), (3.0, 1.0), (3.125, 2.0)]]);
        assert_eq!(up_to(&line, 9.0, false), [line.to_vec()]);
        assert_eq!(up_to(&line, 0.0, false), [[]; 0]);
        // Half of the way up is half of the way in decades.
        let parts = up_to(&[(1.0, 0.0), (100.0, 2.0)], 1.0, true);
        assert!((parts[0][1].0 - 10.0).abs() < 1e-12, "{parts:?}");
    }
}
