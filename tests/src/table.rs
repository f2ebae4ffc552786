//! Text in columns, for people.

/// Lays `rows` out in columns as wide as their widest cell, two spaces apart. The first row is the
/// heading.
pub fn layout(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_short_rows_are_fine() {
        let row = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
        let text =
            layout(&[row(&["name", "driver", "ok"]), row(&["admin", "virtio-net"]), row(&["é", "x", "yes"])]);
        assert_eq!(text, "name   driver      ok\nadmin  virtio-net\né      x           yes\n");
        assert_eq!(layout(&[]), "");
    }
}
