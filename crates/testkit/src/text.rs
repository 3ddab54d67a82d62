//! A small catalogue as IDs, as a table and as lines.

pub const IDS: &str = "\
{\"id\":\"nano\",\"codes\":[7,1],\"counter\":0,\"semantic_id\":\"<L1_7> <L2_1>\",\"title\":\"Nano\"}
{\"id\":\"pico\",\"codes\":[7,2],\"counter\":0,\"semantic_id\":\"<L1_7> <L2_2>\",\"title\":\"Pico\"}
{\"id\":\"vim\",\"codes\":[3,1],\"counter\":0,\"semantic_id\":\"<L1_3> <L2_1>\",\"title\":\"Vim\"}
";

pub const CATALOGUE: &str = "\
id,name,by,about
vim,Vi <i>improved</i>,Bram,A modal editor
nano,Nano,,A small&nbsp;editor
pico,Pico,UW,
ed,Ed,Ken,The standard editor
";

pub const ROWS: &str = "{\"id\":10,\"name\":\"<b>Nano</b>\",\"tags\":[\"tty\",\"\",\"edit\"],\"by\":null}\n\
                    {\"id\":\"9\",\"name\":\"Vi\\n\",\"tags\":[],\"by\":\"Bill\"}\n\
                    {\"id\":\"a\",\"name\":\"Vi\",\"by\":\"Bill\",\"stars\":4.5}\n";
pub const TEMPLATE: &str = "{name}[ by {by}][ ({tags})]";
