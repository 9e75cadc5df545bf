//! A radix tree over bytes: every stored text that a text begins with, at a cost that depends on
//! the length of the texts and not on their number. Entered backwards, every one it ends with.

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
    /// First bytes of the children's edges, in order.
    firsts: Vec<u8>,
    /// The children, in the same order.
    children: Vec<usize>,
}

/// Children up to which looking at each beats halving.
const FEW: usize = 16;

impl<T> Node<T> {
    fn leaf(edge: &[u8]) -> Self {
        Self { edge: edge.into(), value: None, firsts: Vec::new(), children: Vec::new() }
    }

    fn child(&self, first: u8) -> Option<usize> {
        let at = if self.firsts.len() <= FEW {
            self.firsts.iter().position(|known| *known == first)?
        } else {
            self.firsts.binary_search(&first).ok()?
        };
        Some(self.children[at])
    }
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { nodes: vec![Node::leaf(&[])] }
    }
}

impl Trie<()> {
    /// Adds a text.
    pub fn insert(&mut self, text: impl IntoIterator<Item = u8>) {
        self.entry_with(text, || ());
    }

    /// Whether `text` begins with a stored text.
    pub fn has_prefix_of(&self, text: &[u8]) -> bool {
        let mut found = false;
        self.prefixes_of(text, |_, ()| found = true);
        found
    }

    /// Whether `text` ends with a text that is stored backwards.
    pub fn has_suffix_of(&self, text: &[u8]) -> bool {
        let mut found = false;
        self.suffixes_of(text, |_, ()| found = true);
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
            let Some(child) = self.nodes[at].child(first) else {
                return self.grow(at, rest);
            };
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

    /// Adds a leaf below a node.
    fn grow(&mut self, parent: usize, edge: &[u8]) -> usize {
        let leaf = self.nodes.len();
        self.nodes.push(Node::leaf(edge));
        let parent = &mut self.nodes[parent];
        let at = parent.firsts.partition_point(|first| *first < edge[0]);
        parent.firsts.insert(at, edge[0]);
        parent.children.insert(at, leaf);
        leaf
    }

    /// Cuts a node's edge: the node keeps the first part and gets one child with the second.
    fn split(&mut self, node: usize, length: usize) {
        let mut head = Node::leaf(&self.nodes[node].edge[..length]);
        head.firsts = vec![self.nodes[node].edge[length]];
        head.children = vec![self.nodes.len()];
        let mut tail = std::mem::replace(&mut self.nodes[node], head);
        tail.edge = tail.edge[length..].into();
        self.nodes.push(tail);
    }

    /// Visits the value of every stored text that `text` begins with, the shortest first, with
    /// its length.
    pub fn prefixes_of<'t>(&'t self, text: &[u8], mut visit: impl FnMut(usize, &'t T)) {
        let mut node = &self.nodes[0];
        let mut rest = text;
        loop {
            if let Some(value) = &node.value {
                visit(text.len() - rest.len(), value);
            }
            let Some(child) = rest.first().and_then(|first| node.child(*first)) else {
                return;
            };
            node = &self.nodes[child];
            match rest.strip_prefix(&*node.edge) {
                Some(left) => rest = left,
                None => return,
            }
        }
    }

    /// The same for texts that are stored backwards, and the end of `text`.
    pub fn suffixes_of<'t>(&'t self, text: &[u8], mut visit: impl FnMut(usize, &'t T)) {
        let mut node = &self.nodes[0];
        let mut rest = text;
        loop {
            if let Some(value) = &node.value {
                visit(text.len() - rest.len(), value);
            }
            let Some(child) = rest.last().and_then(|first| node.child(*first)) else {
                return;
            };
            node = &self.nodes[child];
            let Some(left) = rest.len().checked_sub(node.edge.len()) else {
                return;
            };
            let (left, end) = rest.split_at(left);
            if !node.edge.iter().eq(end.iter().rev()) {
                return;
            }
            rest = left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(trie: &Trie<&'static str>, text: &str) -> Vec<(usize, &'static str)> {
        let mut out = Vec::new();
        trie.prefixes_of(text.as_bytes(), |length, value| out.push((length, *value)));
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
    fn every_stored_suffix_is_visited_shortest_first() {
        let mut trie = Trie::default();
        for text in ["/b", "", "a/b", "/bb", "xyz"] {
            trie.entry_with(text.bytes().rev(), || text);
        }
        for (text, expected) in
            [("/a/b", &["", "/b", "a/b"][..]), ("/b", &["", "/b"]), ("b", &[""]), ("yz", &[""])]
        {
            let mut found = Vec::new();
            trie.suffixes_of(text.as_bytes(), |length, value| {
                assert_eq!(length, value.len());
                found.push(*value);
            });
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn many_children_are_found() {
        let mut trie = Trie::default();
        for byte in 0..=255_u8 {
            trie.entry_with([byte, byte], || byte);
        }
        for byte in 0..=255_u8 {
            let mut found = None;
            trie.prefixes_of(&[byte, byte, 0], |_, value| found = Some(*value));
            assert_eq!(found, Some(byte));
        }
    }

    #[test]
    fn an_empty_tree_says_so() {
        let mut trie = Trie::<&str>::default();
        assert!(trie.is_empty() && found(&trie, "/a").is_empty());
        trie.entry_with("".bytes(), || "root");
        assert!(!trie.is_empty());
    }
}
