// Bulk loads through the public API.
#include "btree/bulk_commit_op.hh"
#include "store/state.hh"

namespace pleach {

using internal::body;
using internal::check_tree;
using internal::operation_access;
using internal::tree_state;

struct bulk_loader::state {
  std::shared_ptr<tree_state> tree;
  btree::bulk_draft draft;
  bool begun = false, committed = false;
};

namespace {

class add_body final : public body, public btree::bulk_source {
 public:
  std::shared_ptr<tree_state> tree;
  std::span<const load_record> records;
  btree::bulk_build_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.page = op.bad_page().raw;
    a.wanted_bytes = op.wrong_length().wanted;
    a.given_bytes = op.wrong_length().given;
  }
  u64 count() const override { return records.size(); }
  item at(u64 i) override { return {key_of(i), as_bytes(records[i].value)}; }

 private:
  /// An integer as the engine wants it, until the next but one. Another length is refused for what
  /// it is (btree::check_lengths).
  cbytes key_of(u64 i) {
    const btree::tree& t = tree->open->t;
    const std::string_view key = records[i].key;
    if (!internal::has_integers(t) || !internal::fits(t, key, false)) return as_bytes(key);
    std::byte* to = turned_[i % 2];
    internal::turn_in(t, key.data(), to);
    return {to, key.size()};
  }
  std::byte turned_[2][btree::max_integer_bytes];
};

class bulk_commit_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  btree::bulk_commit_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override { a.page = op.bad_page().raw; }
};

}  // namespace

bulk_loader::bulk_loader(const tree& t) : state_(std::make_unique<state>()) {
  state& s = *state_;
  s.tree = operation_access::state_of(t);
  if (!is_ok(check_tree(s.tree, true))) return;
  s.draft.begin(s.tree->open->t);
  s.begun = true;
}

bulk_loader::~bulk_loader() {
  state& s = *state_;
  if (!s.begun) return;
  const bool engine_lives = s.tree->store->c != nullptr && !s.tree->store->c->closed;
  if (engine_lives)
    s.draft.give_back();
  else
    s.draft.abandon();
}

operation bulk_loader::add(std::span<const load_record> records) {
  state& s = *state_;
  internal::store_state* store = s.tree ? s.tree->store.get() : nullptr;
  errc e = check_tree(s.tree, true);
  if (is_ok(e) && (!s.begun || s.committed)) e = errc::invalid;
  if (!is_ok(e)) return operation_access::refuse(store, e);
  return operation_access::with<add_body>(store, [&](add_body& b) {
    b.tree = s.tree;
    b.records = records;
    b.op.prepare(s.draft, b);
  });
}

operation bulk_loader::commit(durability d) {
  state& s = *state_;
  internal::store_state* store = s.tree ? s.tree->store.get() : nullptr;
  errc e = check_tree(s.tree, true);
  if (is_ok(e) && (!s.begun || s.committed)) e = errc::invalid;
  if (is_ok(e)) e = s.draft.broken();
  if (!is_ok(e)) return operation_access::refuse(store, e);
  s.committed = true;
  return operation_access::with<bulk_commit_body>(store, [&](bulk_commit_body& b) {
    b.tree = s.tree;
    b.op.prepare(s.draft, d == durability::durable);
  });
}

std::uint64_t bulk_loader::records() const {
  return state_->draft.records();
}

}  // namespace pleach
