//! Enumerations of the contract that a later version may extend.

use schemars::Schema;

/// Declares an enumeration whose values have fixed names in JSON, in text and in options. In the schema it is open:
/// the known values are listed, any other string is valid too, so that a reader written today accepts the reports of
/// a later version.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[schemars(transform = $crate::report::open_enum::open)]
        pub enum $name {
            $($(#[$value_doc])* #[serde(rename = $text)] $value,)+
        }

        impl $name {
            /// Every value that this version writes.
            pub const ALL: &'static [Self] = &[$(Self::$value,)+];

            /// The value as it is written.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }

            /// The value with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

pub(crate) use open_enum;

/// What every open enumeration's description ends with.
const OPEN: &str = "A reader must accept other values: a later version may add some.";

/// Makes the schema of an enumeration open: what it lists, or any string.
pub fn open(schema: &mut Schema) {
    let description = match schema.get("description").and_then(|d| d.as_str()) {
        Some(own) => format!("{own} {OPEN}"),
        None => OPEN.to_owned(),
    };
    schema.remove("description");
    let known = std::mem::take(schema);
    *schema = schemars::json_schema!({
        "description": description,
        "anyOf": [known, { "type": "string" }],
    });
}
