// Words for what a tree is like: on the command line, in the list of trees, in the header of a
// dump.
//
// Keys of trees of integers are bytes as the machine keeps them wherever records are written and
// read (JSON Lines, dumps), so that what was written loads again; on the command line a key of such
// a tree is a number.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "pleach/pleach.hh"
#include "tools/outcome.hh"

namespace pleach::tool {

// "bytes", "uint", "int". RETURNS: none for other words.
std::optional<key_order> order_named(std::string_view word);
// Of a comparator: "registered".
const char* word_of(key_order order);

// Lines for the header of a tree's dump; empty for a tree that needs none: of bytes, that cuts
// prefixes and separators.
std::string dump_lines(const tree_info& t);
// What such lines say, over what `o` says already. `words`: by keyword, without its "pleach.".
// ERRORS: a sentence that names the word that means nothing here.
outcome<void> read_dump_words(const std::map<std::string, std::string>& words, tree_options& o);

// Is the key not there? No stored key is as long as one that is too large for the tree.
inline bool is_missing(const answer& a) {
  return a.what() == category::not_found || std::string_view(a.name()) == "key_too_large";
}

// KEY of the command line as the tree takes it: in a tree of integers a decimal number, without
// `hex`. ERRORS: exit 16: no number, or beyond what the tree's keys hold.
outcome<std::string> key_for(const tree& t, const std::string& text, bool hex);

}  // namespace pleach::tool
