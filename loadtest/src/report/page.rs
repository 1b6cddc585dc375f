//! The report as a page: one file that needs no other, with the figures inside and a script that plots them.

use super::Report;

const TEMPLATE: &str = include_str!("page.html");
/// Where the figures go.
const PLACE: &str = "\"REPORT\"";

/// The report as HTML.
///
/// # Errors
///
/// serde's, which has none for a report.
pub fn page(report: &Report) -> serde_json::Result<String> {
    // A `<` in a name must not end the script.
    let figures = serde_json::to_string(report)?.replace('<', "\\u003c");
    let title = escaped(&report.name);
    Ok(TEMPLATE.replacen("TITLE", &title, 1).replacen(PLACE, &figures, 1))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_one_place_for_the_figures_and_asks_for_nothing_from_elsewhere() {
        assert_eq!(TEMPLATE.matches(PLACE).count(), 1);
        for elsewhere in ["http://", "https://", "src=", "@import", "url("] {
            let found: Vec<_> = TEMPLATE.match_indices(elsewhere).collect();
            // The name space of SVG is no address.
            let spaces = TEMPLATE.matches("http://www.w3.org/2000/svg").count();
            assert!(found.len() == if elsewhere == "http://" { spaces } else { 0 }, "{elsewhere}");
        }
    }

    #[test]
    fn what_a_scenario_is_called_stays_text() {
        assert_eq!(escaped("a<b>&c"), "a&lt;b&gt;&amp;c");
    }
}
