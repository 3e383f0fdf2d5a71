#include <algorithm>

#include "store/state.hh"

namespace pleach {

using internal::body;
using internal::operation_access;
using internal::tree_state;

struct batch::state {
  struct entry {
    std::shared_ptr<tree_state> tree;
    u64 key_at, value_at;
    u64 key_bytes;
    u64 value_bytes;
    btree::change kind;
    i32 user_flags = -1;
  };
  /// Makes the items.
  errc build(btree::length_fault& lengths);

  std::shared_ptr<internal::store_state> store;
  std::vector<entry> entries;
  std::string text;                      ///< keys and values, one after the other
  std::vector<btree::write_item> items;  ///< of the commit under way, or of the last one
  bool committing = false;
};

namespace {
/// Appends the key as the tree keeps it; one that does not fit is refused by the commit.
void append_key(std::string& text, const std::shared_ptr<tree_state>& t, std::string_view key) {
  const u64 at = text.size();
  text.append(key);
  if (t == nullptr || t->open == nullptr || !internal::has_integers(t->open->t) ||
      key.size() != t->open->t.key_bytes)
    return;
  internal::turn_in(t->open->t, key.data(), reinterpret_cast<std::byte*>(text.data() + at));
}

/// By tree, key and place in the batch.
void sort(std::vector<btree::write_item>& items) {
  const auto before = [](const btree::write_item& a, const btree::write_item& b) {
    if (a.t->id != b.t->id) return a.t->id < b.t->id;
    const int c = a.t->compare(a.key, b.key);
    return c != 0 ? c < 0 : a.sequence < b.sequence;
  };
  const bool bytewise = std::none_of(
      items.begin(), items.end(), [](const btree::write_item& i) { return i.t->order != nullptr; });
  if (bytewise) {
    // Many programs write in order; others are found out after an item or two.
    if (!std::is_sorted(items.begin(), items.end(), before))
      std::sort(items.begin(), items.end(), before);
    return;
  }
  // A heap stays within its bounds whatever a comparator answers; std::sort need not.
  std::make_heap(items.begin(), items.end(), before);
  std::sort_heap(items.begin(), items.end(), before);
}

template <class State>
class batch_body final : public body {
 public:
  State* of = nullptr;
  bool committing = false;
  btree::write_op op;
  sm::op& engine_op() override { return op; }
  void begin() override {
    if (of->committing) return op.refuse(errc::invalid);
    of->committing = committing = true;
    btree::length_fault lengths;
    if (errc e = of->build(lengths); !is_ok(e)) return op.refuse(e, lengths);
    op.give(of->items);
  }
  void finish(answer& a) override {
    internal::tell_write(a, op);
    if (committing) of->committing = false;
  }
};
}  // namespace

errc batch::state::build(btree::length_fault& lengths) {
  items.clear();
  if (entries.size() > internal::max_batch_records) return errc::too_large;
  const std::byte* base = reinterpret_cast<const std::byte*>(text.data());
  for (const entry& e : entries) {
    if (errc code = internal::check_tree(e.tree, true); !is_ok(code)) return code;
    if (e.tree->store != store || e.user_flags > 255) return errc::bad_argument;
    const std::string_view key(text.data() + e.key_at, e.key_bytes);
    if (!internal::fits(e.tree->open->t, key, false)) {
      lengths = {e.tree->open->t.key_bytes, static_cast<u32>(key.size())};
      return errc::wrong_key_length;
    }
    btree::write_item i;
    i.user_flags = e.user_flags;
    i.t = &e.tree->open->t;
    i.kind = e.kind;
    i.key = {base + e.key_at, e.key_bytes};
    i.value = {base + e.value_at, e.value_bytes};
    i.sequence = static_cast<u32>(items.size());
    items.push_back(i);
  }
  sort(items);
  return errc::ok;
}

batch::batch(store& s) : state_(std::make_unique<state>()) {
  state_->store = operation_access::state_of(s);
}
batch::~batch() = default;

void batch::upsert(const tree& t, std::string_view key, std::string_view value) {
  state& s = *state_;
  s.entries.push_back({operation_access::state_of(t), s.text.size(), s.text.size() + key.size(),
                       key.size(), value.size(), btree::change::UPSERT});
  append_key(s.text, operation_access::state_of(t), key);
  s.text.append(value);
}

void batch::upsert(const tree& t, std::string_view key, std::string_view value,
                   record_flags flags) {
  upsert(t, key, value);
  // What is out of range is found by commit.
  state_->entries.back().user_flags =
      internal::flags_valid(flags) ? internal::flags_to(flags) : 256;
}

void batch::del(const tree& t, std::string_view key) {
  state& s = *state_;
  s.entries.push_back({operation_access::state_of(t), s.text.size(), s.text.size() + key.size(),
                       key.size(), 0, btree::change::DELETE});
  append_key(s.text, operation_access::state_of(t), key);
}

void batch::clear() {
  state_->entries.clear();
  state_->text.clear();
  state_->items.clear();
}

std::size_t batch::size() const {
  return state_->entries.size();
}

operation batch::commit(durability d) {
  internal::store_state* store = state_->store.get();
  if (!internal::live(store)) return operation_access::refuse(store, errc::tree_closed);
  return operation_access::with<batch_body<state>>(store, [&](batch_body<state>& b) {
    b.of = state_.get();
    b.op.prepare(*store->c->ctx, {}, d == durability::durable);
  });
}

}  // namespace pleach
