use super::*;

fn chart(scale: Scale, points: Vec<(f64, f64)>) -> Chart {
    Chart {
        title: "a <b> & \"c\"\0".into(),
        description: String::new(),
        size: (360, 260),
        x: Axis {
            label: "step".into(),
            from_zero: true,
            whole: true,
            ..Axis::default()
        },
        y: Axis {
            label: "<script>".into(),
            scale,
            ..Axis::default()
        },
        right: Some(RightAxis {
            label: "bits".into(),
            factor: 1.44,
        }),
        series: vec![Series {
            label: "</svg>\u{1b}".into(),
            color: Color::Blue,
            mark: Mark::Line,
            points,
        }],
    }
}

fn labels(axis: &Axis, range: (f64, f64), count: f64) -> String {
    let ticks = axis.ticks(range, count);
    let labels: Vec<_> = ticks.into_iter().map(|tick| tick.label).collect();
    labels.join(" ")
}

#[test]
fn ticks_are_round_and_of_one_unit() {
    let linear = Axis::default();
    assert_eq!(labels(&linear, (0.9, 4.3), 4.0), "1 2 3 4");
    assert_eq!(labels(&linear, (-0.3, 0.3), 3.0), "-0.2 0 0.2");
    assert_eq!(
        labels(&linear, (0.0, 12_000.0), 6.0),
        "0 2k 4k 6k 8k 10k 12k"
    );
    assert_eq!(labels(&linear, (0.0, 2.2e6), 5.0), "0 0.5M 1M 1.5M 2M");
    assert_eq!(labels(&linear, (0.0, 2e-5), 2.0), "0 1e-5 2e-5");
    let whole = Axis {
        whole: true,
        ..Axis::default()
    };
    assert_eq!(labels(&whole, (0.0, 2.0), 8.0), "0 1 2");
    let parts = Axis {
        parts: true,
        ..Axis::default()
    };
    assert_eq!(parts.range([0.2, 0.3].into_iter()), (0.0, 1.05));
    let log = Axis {
        scale: Scale::Log,
        ..Axis::default()
    };
    assert_eq!(labels(&log, (0.3, 9.0), 5.0), "0.5 1 2 5");
    assert_eq!(labels(&log, (1e-6, 1e6), 4.0), "1e-6 1e-3 1e0 1e3 1e6");
    assert_eq!(labels(&log, (1e-4, 1e4), 4.0), "0.0001 0.01 1 100 10k");
    assert_eq!(labels(&log, (0.42, 0.58), 4.0), "0.45 0.50 0.55");
}

#[test]
fn a_curve_is_broken_at_gaps_and_single_points_are_seen() {
    let points = [1.0, 2.0, f64::NAN, 3.0, f64::INFINITY, 1.0, 2.0];
    let points = (0..).map(f64::from).zip(points).collect();
    let svg = chart(Scale::Linear, points).to_svg().unwrap();
    assert_eq!(
        svg.matches("<polyline").count(),
        3,
        "two stretches and the legend"
    );
    assert_eq!(svg.matches("<circle").count(), 1);
}

#[test]
fn any_values_can_be_drawn() {
    let wild = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        5e-324,
        1e-300,
        1e149,
        -1e149,
        f64::MAX,
        f64::NAN,
        f64::INFINITY,
    ];
    for scale in [Scale::Linear, Scale::Log] {
        for a in wild {
            for b in wild {
                let svg = chart(scale, vec![(1.0, a), (2.0, b)]).to_svg().unwrap();
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{a} {b}");
                assert!(svg.matches("<text").count() < 60, "{a} {b}");
            }
        }
        let svg = chart(scale, Vec::new()).to_svg().unwrap();
        assert!(svg.contains("nothing to draw"));
    }
}

#[test]
fn texts_are_escaped_and_colours_named() {
    let svg = chart(Scale::Linear, vec![(0.0, 1.0), (1.0, 2.0)])
        .to_svg()
        .unwrap();
    assert!(svg.contains("<title>a &lt;b&gt; &amp; \"c\"␀</title>"));
    assert!(svg.contains("&lt;/svg&gt;␛") && !svg.contains("<script"));
    assert_eq!(svg.matches("</svg>").count(), 1);
    // Every colour carries the class by which a page may change it.
    assert_eq!(
        svg.matches("=\"#").count(),
        svg.matches("class=\"f-").count() + svg.matches("class=\"s-").count()
    );
    let colours = Ink::ALL.map(|ink| ink.light());
    let differ = |(i, a): (usize, &RGBColor)| colours[..i].iter().all(|b| a != b);
    assert!(colours.iter().enumerate().all(differ));
}

#[test]
fn few_points_keep_peaks_gaps_and_ends() {
    let mut points: Vec<_> = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
    points[7777].1 = 9.0;
    points[1234].1 = -9.0;
    points[4000..5000]
        .iter_mut()
        .for_each(|point| point.1 = f64::NAN);
    let few = downsample(&points, 100);
    assert!(few.len() <= 100);
    assert!(few.contains(&(7777.0, 9.0)) && few.contains(&(1234.0, -9.0)));
    assert!(few.iter().any(|point| point.1.is_nan()));
    assert!(few.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!((few[0].0, few[few.len() - 1].0), (0.0, 9999.0));
}
