//! stub
pub struct ReportInput;
pub fn render_html(_: &ReportInput) -> String {
    String::new()
}
