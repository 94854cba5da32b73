//! The figures as bars: one SVG per report, for the documentation.

use std::fmt::Write;

use super::series::{Figures, Report};

const BAR: usize = 18;
const GAP: usize = 6;
const LABELS: usize = 130;
const LONGEST: f64 = 420.0;
const WIDTH: usize = 760;
const HEADING: usize = 44;

/// Rows per second as bars, with the client's CPU time beside them.
pub(crate) fn svg(report: &Report) -> String {
    let mut body = String::new();
    let mut top = 0;
    for table in report.tables() {
        let ran: Vec<_> = report
            .results
            .iter()
            .filter(|figures| figures.title() == table && figures.error.is_none())
            .collect();
        let most = ran
            .iter()
            .map(|figures| figures.rows_per_second)
            .fold(1.0, f64::max);
        text(
            &mut body,
            0,
            top + 28,
            "font-weight='bold'",
            &format!("{table}: rows per second, and client CPU µs a row"),
        );
        top += HEADING;
        for figures in ran {
            bar(&mut body, top, figures, most);
            top += BAR + GAP;
        }
    }
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{top}' font-family='sans-serif' font-size='13'>\n\
         <rect width='100%' height='100%' fill='white'/>\n{body}</svg>\n"
    )
}

fn bar(body: &mut String, top: usize, figures: &Figures, most: f64) {
    let length = (figures.rows_per_second / most * LONGEST).max(1.0);
    text(body, 0, top + 14, "", &figures.contestant);
    // Writing to a String does not fail.
    let _ = writeln!(
        body,
        "<rect x='{LABELS}' y='{top}' width='{length:.0}' height='{BAR}' fill='#4878a8'/>"
    );
    let figure = format!(
        "{:.2} M · {:.2} µs",
        figures.rows_per_second / 1e6,
        figures.client_cpu_micros_per_row
    );
    text(body, LABELS + length as usize + 8, top + 14, "", &figure);
}

fn text(body: &mut String, x: usize, y: usize, style: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(body, "<text x='{x}' y='{y}' {style}>{content}</text>");
}
