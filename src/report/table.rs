//! Tables of texts: as Markdown, as LaTeX, and for the page.

use super::figures::colour;

/// Columns are not padded to cells that are wider than this.
const WIDEST: usize = 200;

/// A table, the first columns of which say what a row is.
pub struct Table {
    /// What it is about; may be empty.
    pub title: String,
    /// Of the columns.
    pub head: Vec<Column>,
    /// The rows.
    pub rows: Vec<Line>,
    /// What it takes to read the table, in a few sentences.
    pub note: String,
}

/// A column of a table.
pub struct Column {
    /// Its title.
    pub name: String,
    /// Whether it holds numbers.
    pub is_number: bool,
    /// Whether figures and differences use it.
    pub is_chosen: bool,
}

/// A row of a table.
pub struct Line {
    /// Place of the report's row that it is about, for its colour.
    pub row: Option<usize>,
    /// The cells.
    pub cells: Vec<Cell>,
}

/// A cell of a table.
#[derive(Default)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// Whether it is the best of its column.
    pub is_best: bool,
}

impl Table {
    /// An empty table; columns of numbers are named behind a `#`.
    pub fn new(title: &str, columns: &[&str]) -> Table {
        let column = |name: &&str| Column {
            name: name.trim_start_matches('#').to_string(),
            is_number: name.starts_with('#'),
            is_chosen: false,
        };
        let head = columns.iter().map(column).collect();
        Table { title: title.to_string(), head, rows: Vec::new(), note: String::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, row: Option<usize>, cells: Vec<String>) {
        let cell = |text| Cell { text, is_best: false };
        self.rows.push(Line { row, cells: cells.into_iter().map(cell).collect() });
    }
}

impl Line {
    /// The colour of the row, if it has one.
    pub fn colour(&self) -> Option<&'static str> {
        self.row.map(colour)
    }
}

/// Tables in Markdown, whose columns stand below each other also as plain text.
pub fn markdown(tables: &[Table]) -> String {
    let escape = |text: &str| text.replace('|', "\\|").replace(['\n', '\r'], " ");
    let texts = tables.iter().map(|table| {
        let head: Vec<String> = table.head.iter().map(|column| escape(&column.name)).collect();
        let line = |line: &Line| {
            let cell = |cell: &Cell| match cell.is_best {
                true => format!("**{}**", escape(&cell.text)),
                false => escape(&cell.text),
            };
            line.cells.iter().map(cell).collect::<Vec<_>>()
        };
        let rows: Vec<Vec<String>> = table.rows.iter().map(line).collect();
        let width = |column: usize| {
            let cells = rows.iter().chain([&head]).map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).clamp(3, WIDEST)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let row = |cells: &[String]| {
            let cells = cells.iter().zip(&widths).zip(&table.head);
            let cells = cells.map(|((cell, width), column)| match column.is_number {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let rules = widths.iter().zip(&table.head).map(|(width, column)| {
            let dashes = "-".repeat(width - 1);
            if column.is_number { format!("{dashes}:") } else { format!(":{dashes}") }
        });
        let rule = row(&rules.collect::<Vec<_>>());
        let body: String = rows.iter().map(|cells| row(cells)).collect();
        let title = if table.title.is_empty() { String::new() } else { heading(&table.title) };
        format!("{title}{}{rule}{body}\n{}\n", row(&head), table.note)
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn heading(title: &str) -> String {
    format!("## {}\n\n", title.replace(['\n', '\r'], " "))
}

/// Tables in LaTeX, for the package `booktabs`.
pub fn latex(tables: &[Table]) -> String {
    let mut text = "% \\usepackage{booktabs}\n".to_string();
    for table in tables {
        let columns: String =
            table.head.iter().map(|column| if column.is_number { 'r' } else { 'l' }).collect();
        let row = |cells: Vec<String>| format!("    {} \\\\\n", cells.join(" & "));
        let head = row(table.head.iter().map(|column| in_latex(&column.name)).collect());
        let body = table.rows.iter().map(|line| {
            let cell = |cell: &Cell| match cell.is_best {
                true => format!("{{\\bfseries\\boldmath {}}}", in_latex(&cell.text)),
                false => in_latex(&cell.text),
            };
            row(line.cells.iter().map(cell).collect())
        });
        let caption = [table.title.as_str(), table.note.as_str()].map(in_latex);
        let caption = caption.iter().filter(|text| !text.is_empty()).cloned();
        text += &format!(
            "\\begin{{table}}\n  \\centering\\small\n  \\caption{{{}}}\n  \\begin{{tabular}}{{{columns}}}\n    \
             \\toprule\n{head}    \\midrule\n{}    \\bottomrule\n  \\end{{tabular}}\n\\end{{table}}\n",
            caption.collect::<Vec<_>>().join(". "),
            body.collect::<String>()
        );
    }
    text
}

/// A text in LaTeX, where some signs are commands.
fn in_latex(text: &str) -> String {
    let letter = |letter: char| match letter {
        '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{letter}"),
        '\\' => "\\textbackslash{}".into(),
        '~' => "\\textasciitilde{}".into(),
        '^' => "\\textasciicircum{}".into(),
        '<' => "$<$".into(),
        '>' => "$>$".into(),
        '|' => "$|$".into(),
        '[' => "{[}".into(), // behind `\\` it would be an option
        ']' => "{]}".into(),
        '¹' => "$^1$".into(),
        '²' => "$^2$".into(),
        '³' => "$^3$".into(),
        '±' => "$\\pm$".into(),
        '−' => "$-$".into(),
        '×' => "$\\times$".into(),
        '→' => "$\\to$".into(),
        '–' => "--".into(),
        '\n' | '\r' => " ".into(),
        other => other.to_string(),
    };
    text.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_latex_are_escaped() {
        assert_eq!(in_latex("F³_a & 5 %"), "F$^3$\\_a \\& 5 \\%");
        assert_eq!(
            in_latex("\\x{^~}"),
            "\\textbackslash{}x\\{\\textasciicircum{}\\textasciitilde{}\\}"
        );
        assert_eq!(in_latex("97.1 ± 0.2"), "97.1 $\\pm$ 0.2");
    }

    #[test]
    fn columns_of_markdown_stand_below_each_other() {
        let mut table = Table::new("a|b", &["row", "#n"]);
        table.push(None, vec!["x|y".into(), "10".into()]);
        let text = "## a|b\n\n| row  |   n |\n| :--- | --: |\n| x\\|y |  10 |\n\n\n";
        assert_eq!(markdown(&[table]), text);
    }
}
