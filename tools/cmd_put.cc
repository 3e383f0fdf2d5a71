// pleach put: inserts or replaces one record, or a range of its value, durably.
#include <fmt/format.h>

#include <optional>

#include "tools/command.hh"
#include "tools/open_store.hh"
#include "tools/tree_words.hh"
#include "tools/value_input.hh"

namespace pleach::tool {

namespace {

// No store takes larger values; the store's own limit is checked by the library.
constexpr std::uint64_t value_bytes_max = 64ull << 20;

outcome<tree> tree_for(store& s, const command& c) {
  tree opened;
  const answer a = s.run(s.open_tree(c.tree, opened));
  if (a.ok()) return opened;
  if (a.what() != category::not_found) {
    return fail(fmt::format("opening tree {}", text::quoted(c.tree)), a);
  }
  if (!c.create) return fail_unknown_tree(c.tree, "put makes it with --create");
  if (c.tree.empty()) return fail("creating a tree: its name is empty; give it a name");
  return create_tree(s, c.tree, c.new_tree());
}

// A value that is longer than one reads at once.
outcome<answer> put_pieces(store& s, value_writer& writer, value_input& input) {
  answer a = s.run(writer.write(input.head()));
  std::string piece(value_input::head_bytes, '\0');
  while (a.ok()) {
    auto got = input.next(piece);
    if (!got) return std::unexpected(got.error());
    if (*got == 0) return s.run(writer.commit());
    a = s.run(writer.write({piece.data(), *got}));
  }
  return a;
}

// A range of the value that is there. RETURNS: not_found if there is none.
outcome<answer> put_range(store& s, const tree& t, const std::string& key, const command& c,
                          value_input* input, const std::string& value) {
  value_writer writer(t, key, write_at{*c.offset});
  if (input != nullptr) return put_pieces(s, writer, *input);
  const answer a = s.run(writer.write(value));
  return a.ok() ? s.run(writer.commit()) : a;
}

outcome<answer> put_value(store& s, tree& t, const command& c, value_input* input,
                          const std::string& value) {
  auto key = key_for(t, c.key, c.hex);
  if (!key) return std::unexpected(key.error());
  if (c.offset) return put_range(s, t, *key, c, input, value);
  if (input == nullptr) return s.run(t.upsert(*key, value));
  value_writer writer(t, *key, input->size());
  return put_pieces(s, writer, *input);
}

}  // namespace

outcome<int> run_put(const command& c) {
  std::string value;
  std::optional<value_input> input;
  // Before the store is opened: whoever waits for input must not hold its lock.
  if (c.value) {
    value = *c.value;
  } else {
    auto opened = value_input::open(c.value_file, value_bytes_max);
    if (!opened) return std::unexpected(opened.error());
    input.emplace(std::move(*opened));
    if (input->whole()) value = input->head();
  }
  auto s = open_store(c, access::write);
  if (!s) return std::unexpected(s.error());

  const limits most = s->limits();
  if (c.key.size() > most.key_bytes) {
    return fail(fmt::format("putting a key of {} bytes: too large: a key has at most {}",
                            c.key.size(), most.key_bytes));
  }
  const std::uint64_t value_bytes = input ? input->size() : value.size();
  if (value_bytes > most.value_bytes) {
    return fail(fmt::format("putting a value of {} bytes: too large: a value has at most {}",
                            value_bytes, most.value_bytes));
  }
  {
    auto t = tree_for(*s, c);
    if (!t) return std::unexpected(t.error());
    const bool pieces = input && !input->whole();
    auto put = put_value(*s, *t, c, pieces ? &*input : nullptr, value);
    if (!put) return std::unexpected(put.error());
    if (c.offset && put->what() == category::not_found) return exit_missing;
    if (c.offset && put->what() == category::invalid) {
      return fail(fmt::format("putting key {} into tree {}: --offset {} is behind the value's end",
                              text::quoted(c.key), text::quoted(c.tree), *c.offset));
    }
    if (const answer a = *put; !a.ok()) {
      return fail(
          fmt::format("putting key {} into tree {}", text::quoted(c.key), text::quoted(c.tree)), a);
    }
  }
  if (auto closed = close_store(*s); !closed) return std::unexpected(closed.error());
  return exit_done;
}

}  // namespace pleach::tool
