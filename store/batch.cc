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
    u32 key_bytes;
    u64 value_bytes;
    btree::change kind;
    i32 user_flags = -1;
  };
  std::shared_ptr<internal::store_state> store;
  std::vector<entry> entries;
  std::string text;                      ///< keys and values, one after the other
  std::vector<btree::write_item> items;  ///< made by commit
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

class batch_body final : public body {
 public:
  btree::write_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override { internal::tell_write(a, op); }
};
}  // namespace

batch::batch(store& s) : state_(std::make_unique<state>()) {
  state_->store = operation_access::state_of(s);
}
batch::~batch() = default;

void batch::upsert(const tree& t, std::string_view key, std::string_view value) {
  state& s = *state_;
  s.entries.push_back({operation_access::state_of(t), s.text.size(), s.text.size() + key.size(),
                       static_cast<u32>(key.size()), value.size(), btree::change::UPSERT});
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
                       static_cast<u32>(key.size()), 0, btree::change::DELETE});
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
  state& s = *state_;
  internal::store_state* store = s.store.get();
  s.items.clear();
  if (s.entries.size() > internal::max_batch_records)
    return operation_access::refuse(store, errc::too_large);
  const std::byte* base = reinterpret_cast<const std::byte*>(s.text.data());
  for (const state::entry& e : s.entries) {
    if (errc code = internal::check_tree(e.tree, true); !is_ok(code))
      return operation_access::refuse(store, code);
    if (e.tree->store != s.store) return operation_access::refuse(store, errc::bad_argument);
    if (e.user_flags > 255) return operation_access::refuse(store, errc::bad_argument);
    const std::string_view key(s.text.data() + e.key_at, e.key_bytes);
    if (!internal::fits(e.tree->open->t, key, false))
      return operation_access::refuse_key(*e.tree, key);
    btree::write_item i;
    i.user_flags = e.user_flags;
    i.t = &e.tree->open->t;
    i.kind = e.kind;
    i.key = {base + e.key_at, e.key_bytes};
    i.value = {base + e.value_at, e.value_bytes};
    i.sequence = static_cast<u32>(s.items.size());
    s.items.push_back(i);
  }
  sort(s.items);
  if (store->c == nullptr || store->c->closed)
    return operation_access::refuse(store, errc::tree_closed);
  return operation_access::with<batch_body>(store, [&](batch_body& b) {
    b.op.prepare(*store->c->ctx, s.items, d == durability::durable);
  });
}

}  // namespace pleach
