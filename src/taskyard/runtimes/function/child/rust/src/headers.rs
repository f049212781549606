/// Header fields in their order, looked up without regard to letter case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let of_name = |pair: &&(String, String)| pair.0.eq_ignore_ascii_case(name);
        self.0.iter().find(of_name).map(|pair| pair.1.as_str())
    }

    /// All values of a name.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        let of_name = move |pair: &&(String, String)| pair.0.eq_ignore_ascii_case(name);
        self.0.iter().filter(of_name).map(|pair| pair.1.as_str())
    }

    /// Whether there is such a field.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Let a name have this value alone.
    pub fn insert(&mut self, name: impl Into<String>, value: impl ToString) {
        let name = name.into();
        self.0.retain(|pair| !pair.0.eq_ignore_ascii_case(&name));
        self.append(name, value);
    }

    /// Add a field; one of this name that is there stays.
    pub fn append(&mut self, name: impl Into<String>, value: impl ToString) {
        self.0.push((name.into(), value.to_string()));
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|pair| (pair.0.as_str(), pair.1.as_str()))
    }
}
