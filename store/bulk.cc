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
  item at(u64 i) override {
    const load_record& r = records[i];
    const btree::tree& t = tree->open->t;
    if (!internal::has_integers(t) || !internal::fits(t, r.key, false))
      return {as_bytes(r.key), as_bytes(r.value)};
    std::byte* to = turned_[i % std::size(turned_)];
    internal::turn_in(t, r.key.data(), to);
    return {{to, r.key.size()}, as_bytes(r.value)};
  }

 private:
  std::byte turned_[4][btree::max_integer_bytes];  ///< keys of trees of integers
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
