// Operations on one tree, as public operations around read_op and write_op.
#include "store/state.hh"

namespace pleach {

using internal::body;
using internal::check_tree;
using internal::operation_access;
using internal::tree_state;

namespace {

class read_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  btree::read_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override { a.page = op.bad_page().raw; }
};

class write_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  btree::write_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override { a.page = op.bad_page().raw; }
};

operation read(const std::shared_ptr<tree_state>& t, btree::seek mode, std::string_view key,
               const btree::read_op::sink& to) {
  internal::store_state* s = t ? t->store.get() : nullptr;
  if (errc e = check_tree(t, false); !is_ok(e)) return operation_access::refuse(s, e);
  return operation_access::with<read_body>(s, [&](read_body& b) {
    b.tree = t;
    b.op.prepare(t->open->t, mode, as_bytes(key), to);
  });
}

operation write(const std::shared_ptr<tree_state>& t, btree::change kind, std::string_view key,
                std::string_view value, std::string* old_value, durability d) {
  internal::store_state* s = t ? t->store.get() : nullptr;
  if (errc e = check_tree(t, true); !is_ok(e)) return operation_access::refuse(s, e);
  return operation_access::with<write_body>(s, [&](write_body& b) {
    b.tree = t;
    b.op.prepare(t->open->t, kind, as_bytes(key), as_bytes(value), old_value,
                 d == durability::durable);
  });
}

}  // namespace

const std::string& tree::name() const {
  static const std::string none;
  return state_ ? state_->open->t.name : none;
}
std::uint64_t tree::id() const { return state_ ? state_->open->t.id : 0; }

operation tree::get(std::string_view key, std::string& value) {
  return read(state_, btree::seek::EXACT, key, {nullptr, &value, nullptr});
}
operation tree::exists(std::string_view key) { return read(state_, btree::seek::EXACT, key, {}); }
operation tree::get_at_least(std::string_view key, std::string& found_key, std::string& value) {
  return read(state_, btree::seek::AT_LEAST, key, {&found_key, &value, nullptr});
}
operation tree::get_at_most(std::string_view key, std::string& found_key, std::string& value) {
  return read(state_, btree::seek::AT_MOST, key, {&found_key, &value, nullptr});
}
operation tree::min(std::string& key, std::string& value) {
  return read(state_, btree::seek::AT_LEAST, {}, {&key, &value, nullptr});
}
operation tree::max(std::string& key, std::string& value) {
  return read(state_, btree::seek::LAST, {}, {&key, &value, nullptr});
}
operation tree::next(std::string_view key, std::string& found_key, std::string& value) {
  return read(state_, btree::seek::AFTER, key, {&found_key, &value, nullptr});
}
operation tree::prev(std::string_view key, std::string& found_key, std::string& value) {
  return read(state_, btree::seek::BEFORE, key, {&found_key, &value, nullptr});
}

operation tree::put(std::string_view key, std::string_view value, durability d) {
  return write(state_, btree::change::PUT, key, value, nullptr, d);
}
operation tree::update(std::string_view key, std::string_view value, durability d) {
  return write(state_, btree::change::UPDATE, key, value, nullptr, d);
}
operation tree::upsert(std::string_view key, std::string_view value, durability d) {
  return write(state_, btree::change::UPSERT, key, value, nullptr, d);
}
operation tree::del(std::string_view key, std::string* old_value, durability d) {
  return write(state_, btree::change::DELETE, key, {}, old_value, d);
}

}  // namespace pleach
