//! A radix tree over bytes: every stored text that a text begins with, at a cost that depends on
//! the length of the texts and not on their number.

/// Texts with a value each.
#[derive(Clone, Debug)]
pub struct Trie<T> {
    nodes: Vec<Node<T>>,
}

#[derive(Clone, Debug)]
struct Node<T> {
    /// Bytes between the parent and this node.
    edge: Box<[u8]>,
    value: Option<T>,
    /// First bytes of the children's edges with the children, in order.
    children: Vec<(u8, usize)>,
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { nodes: vec![Node { edge: Box::default(), value: None, children: Vec::new() }] }
    }
}

impl Trie<()> {
    /// Adds a text.
    pub fn insert(&mut self, text: impl IntoIterator<Item = u8>) {
        self.entry_with(text, || ());
    }

    /// Whether `text` begins with a stored text.
    pub fn has_prefix_of(&self, text: impl IntoIterator<Item = u8>) -> bool {
        let mut found = false;
        if !self.is_empty() {
            self.prefixes_of(text, |_, ()| found = true);
        }
        found
    }
}

impl<T> Trie<T> {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1 && self.nodes[0].value.is_none()
    }

    /// The value of a text, made by `default` if it is new.
    pub fn entry_with(
        &mut self,
        text: impl IntoIterator<Item = u8>,
        default: impl FnOnce() -> T,
    ) -> &mut T {
        let text: Vec<u8> = text.into_iter().collect();
        let node = self.place(&text);
        self.nodes[node].value.get_or_insert_with(default)
    }

    /// The node of a text, splitting and adding nodes as needed.
    fn place(&mut self, text: &[u8]) -> usize {
        let mut at = 0;
        let mut rest = text;
        while let Some(&first) = rest.first() {
            let slot = match self.nodes[at].children.binary_search_by_key(&first, |c| c.0) {
                Ok(slot) => slot,
                Err(slot) => {
                    let leaf = self.add(rest, Vec::new());
                    self.nodes[at].children.insert(slot, (first, leaf));
                    return leaf;
                }
            };
            let child = self.nodes[at].children[slot].1;
            let edge = &self.nodes[child].edge;
            let common = edge.iter().zip(rest).take_while(|(a, b)| a == b).count();
            if common < edge.len() {
                self.split(child, common);
            }
            rest = &rest[common..];
            at = child;
        }
        at
    }

    /// Cuts a node's edge: the node keeps the first part and gets one child with the second.
    fn split(&mut self, node: usize, length: usize) {
        let edge = std::mem::take(&mut self.nodes[node].edge);
        let children = std::mem::take(&mut self.nodes[node].children);
        let value = self.nodes[node].value.take();
        let (head, tail) = edge.split_at(length);
        let child = self.add(tail, children);
        self.nodes[child].value = value;
        self.nodes[node].edge = head.into();
        self.nodes[node].children = vec![(tail[0], child)];
    }

    fn add(&mut self, edge: &[u8], children: Vec<(u8, usize)>) -> usize {
        self.nodes.push(Node { edge: edge.into(), value: None, children });
        self.nodes.len() - 1
    }

    /// Visits the value of every stored text that `text` begins with, the shortest first, with
    /// its length.
    pub fn prefixes_of<'t>(
        &'t self,
        text: impl IntoIterator<Item = u8>,
        mut visit: impl FnMut(usize, &'t T),
    ) {
        let mut text = text.into_iter();
        let mut node = &self.nodes[0];
        let mut length = 0;
        loop {
            if let Some(value) = &node.value {
                visit(length, value);
            }
            let Some(first) = text.next() else {
                return;
            };
            let Ok(slot) = node.children.binary_search_by_key(&first, |c| c.0) else {
                return;
            };
            node = &self.nodes[node.children[slot].1];
            if !node.edge[1..].iter().all(|byte| text.next() == Some(*byte)) {
                return;
            }
            length += node.edge.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(trie: &Trie<&'static str>, text: &str) -> Vec<(usize, &'static str)> {
        let mut out = Vec::new();
        trie.prefixes_of(text.bytes(), |length, value| out.push((length, *value)));
        out
    }

    #[test]
    fn every_stored_prefix_is_visited_shortest_first() {
        let mut trie = Trie::default();
        for text in ["/a/", "", "/abc", "/ab", "/a/b/c", "/x"] {
            trie.entry_with(text.bytes(), || text);
        }
        assert_eq!(found(&trie, "/abcd"), [(0, ""), (3, "/ab"), (4, "/abc")]);
        assert_eq!(found(&trie, "/a/b/c"), [(0, ""), (3, "/a/"), (6, "/a/b/c")]);
        assert_eq!(found(&trie, "/a"), [(0, "")]);
        assert_eq!(found(&trie, ""), [(0, "")]);
    }

    #[test]
    fn an_empty_tree_says_so() {
        let mut trie = Trie::<&str>::default();
        assert!(trie.is_empty() && found(&trie, "/a").is_empty());
        trie.entry_with("".bytes(), || "root");
        assert!(!trie.is_empty());
    }
}
