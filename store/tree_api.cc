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

/// A read that shows the value to a function of the caller.
class visit_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  viewer fn = nullptr;
  void* datum = nullptr;
  std::string large;  ///< a value that lies in an extent
  btree::read_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override { a.page = op.bad_page().raw; }

  static bool see(void* self, cbytes value) {
    auto& b = *static_cast<visit_body*>(self);
    try {
      return b.fn(b.datum, as_text(value));
    } catch (...) {
      ++b.tree->store->c->callbacks_failed;
      return false;
    }
  }
};

/// A write that a function of the caller decides.
class modify_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  pleach::editor fn = nullptr;
  void* datum = nullptr;
  btree::write_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override { internal::tell_write(a, op); }

  static btree::verdict decide(void* self, bool present, std::string& value) {
    auto& b = *static_cast<modify_body*>(self);
    try {
      switch (b.fn(b.datum, present, value)) {
        case edit::store:
          return btree::verdict::STORE;
        case edit::erase:
          return btree::verdict::ERASE;
        case edit::keep:
          return btree::verdict::KEEP;
        case edit::fail:
          break;
      }
    } catch (...) {
      ++b.tree->store->c->callbacks_failed;
    }
    return btree::verdict::FAIL;
  }
};

class write_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  btree::write_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override { internal::tell_write(a, op); }
};

class multi_get_body final : public body, public btree::lookup_list {
 public:
  std::shared_ptr<tree_state> tree;
  std::span<lookup> lookups;
  btree::multi_get_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.page = op.bad_page().raw;
    if (op.idle())  // it never ran
      for (lookup& l : lookups) l.result = a;
  }
  u32 count() const override { return static_cast<u32>(lookups.size()); }
  wish at(u32 i) override { return {as_bytes(lookups[i].key), lookups[i].value}; }
  void settle(u32 i, errc code, lsn_t lsn, page_addr bad) override {
    lookups[i].result = {static_cast<u32>(code), lsn, bad.raw};
  }
};

class count_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  std::uint64_t* n = nullptr;
  btree::count_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.page = op.bad_page().raw;
    *n = op.counted();
  }
};

/// `bound`: null: none.
operation read_one(const std::shared_ptr<tree_state>& t, btree::seek mode, std::string_view key,
                   const btree::read_op::sink& to, const std::string_view* bound = nullptr,
               cookie* near = nullptr) {
  internal::store_state* s = t ? t->store.get() : nullptr;
  if (errc e = check_tree(t, false); !is_ok(e)) return operation_access::refuse(s, e);
  return operation_access::with<read_body>(s, [&](read_body& b) {
    b.tree = t;
    b.op.prepare(t->open->t, mode, as_bytes(key), to, operation_access::engine_cookie(near));
    if (bound) b.op.bound(as_bytes(*bound));
  });
}

operation write(const std::shared_ptr<tree_state>& t, btree::change kind, std::string_view key,
                std::string_view value, std::string* old_value, durability d, cookie* near) {
  internal::store_state* s = t ? t->store.get() : nullptr;
  if (errc e = check_tree(t, true); !is_ok(e)) return operation_access::refuse(s, e);
  return operation_access::with<write_body>(s, [&](write_body& b) {
    b.tree = t;
    b.op.prepare(t->open->t, kind, as_bytes(key), as_bytes(value), old_value,
                 d == durability::durable, operation_access::engine_cookie(near));
  });
}

}  // namespace

const std::string& tree::name() const {
  static const std::string none;
  return state_ ? state_->open->t.name : none;
}
std::uint64_t tree::id() const { return state_ ? state_->open->t.id : 0; }
std::uint32_t tree::key_bytes() const { return state_ ? state_->open->t.key_bytes : 0; }
std::uint32_t tree::value_bytes() const { return state_ ? state_->open->t.value_bytes : 0; }

operation tree::visit(std::string_view key, viewer fn, void* datum) {
  internal::store_state* s = state_ ? state_->store.get() : nullptr;
  if (errc e = check_tree(state_, false); !is_ok(e)) return operation_access::refuse(s, e);
  if (fn == nullptr) return operation_access::refuse(s, errc::bad_argument);
  return operation_access::with<visit_body>(s, [&](visit_body& b) {
    b.tree = state_;
    b.fn = fn;
    b.datum = datum;
    b.op.prepare(state_->open->t, btree::seek::EXACT, as_bytes(key),
                 {nullptr, &b.large, nullptr, nullptr, &visit_body::see, &b});
  });
}
operation tree::modify(std::string_view key, std::string& value, editor fn, void* datum,
                       durability d) {
  internal::store_state* s = state_ ? state_->store.get() : nullptr;
  if (errc e = check_tree(state_, true); !is_ok(e)) return operation_access::refuse(s, e);
  if (fn == nullptr) return operation_access::refuse(s, errc::bad_argument);
  return operation_access::with<modify_body>(s, [&](modify_body& b) {
    b.tree = state_;
    b.fn = fn;
    b.datum = datum;
    b.op.prepare_modify(state_->open->t, as_bytes(key), {&modify_body::decide, &b, &value},
                        d == durability::durable);
  });
}

operation tree::read(std::string_view key, std::uint64_t offset, std::span<char> out,
                     std::size_t& got) {
  return internal::read_range(state_, key, offset, out, got, nullptr);
}
operation tree::get(std::string_view key, std::string& value, cookie* near) {
  return read_one(state_, btree::seek::EXACT, key, {nullptr, &value, nullptr}, nullptr, near);
}
operation tree::exists(std::string_view key, cookie* near) {
  return read_one(state_, btree::seek::EXACT, key, {}, nullptr, near);
}
operation tree::multi_get(std::span<lookup> lookups) {
  internal::store_state* s = state_ ? state_->store.get() : nullptr;
  errc e = check_tree(state_, false);
  if (is_ok(e) && lookups.size() > ~u32{0}) e = errc::bad_argument;
  if (!is_ok(e)) {
    for (lookup& l : lookups) l.result = {static_cast<u32>(e), 0, 0};
    return operation_access::refuse(s, e);
  }
  return operation_access::with<multi_get_body>(s, [&](multi_get_body& b) {
    b.tree = state_;
    b.lookups = lookups;
    b.op.prepare(state_->open->t, b);
  });
}
operation tree::get_at_least(std::string_view key, std::string& found_key, std::string& value) {
  return read_one(state_, btree::seek::AT_LEAST, key, {&found_key, &value, nullptr});
}
operation tree::get_at_most(std::string_view key, std::string& found_key, std::string& value) {
  return read_one(state_, btree::seek::AT_MOST, key, {&found_key, &value, nullptr});
}
operation tree::min(std::string& key, std::string& value) {
  return read_one(state_, btree::seek::AT_LEAST, {}, {&key, &value, nullptr});
}
operation tree::max(std::string& key, std::string& value) {
  return read_one(state_, btree::seek::LAST, {}, {&key, &value, nullptr});
}
operation tree::next(std::string_view key, std::string& found_key, std::string& value) {
  return read_one(state_, btree::seek::AFTER, key, {&found_key, &value, nullptr});
}
operation tree::prev(std::string_view key, std::string& found_key, std::string& value) {
  return read_one(state_, btree::seek::BEFORE, key, {&found_key, &value, nullptr});
}

operation tree::next_upto(std::string_view key, std::string_view upto, std::string& found_key,
                          std::string& value) {
  return read_one(state_, btree::seek::AFTER, key, {&found_key, &value, nullptr},
              upto.empty() ? nullptr : &upto);
}
operation tree::prev_downto(std::string_view key, std::string_view downto, std::string& found_key,
                            std::string& value) {
  return read_one(state_, btree::seek::BEFORE, key, {&found_key, &value, nullptr}, &downto);
}

operation tree::count(std::string_view from, std::string_view to, std::uint64_t& n) {
  internal::store_state* s = state_ ? state_->store.get() : nullptr;
  n = 0;
  if (errc e = check_tree(state_, false); !is_ok(e)) return operation_access::refuse(s, e);
  return operation_access::with<count_body>(s, [&](count_body& b) {
    b.tree = state_;
    b.n = &n;
    cbytes bound = as_bytes(to);
    b.op.prepare(state_->open->t, as_bytes(from), to.empty() ? nullptr : &bound);
  });
}

operation tree::put(std::string_view key, std::string_view value, durability d, cookie* near) {
  return write(state_, btree::change::PUT, key, value, nullptr, d, near);
}
operation tree::update(std::string_view key, std::string_view value, durability d, cookie* near) {
  return write(state_, btree::change::UPDATE, key, value, nullptr, d, near);
}
operation tree::upsert(std::string_view key, std::string_view value, durability d, cookie* near) {
  return write(state_, btree::change::UPSERT, key, value, nullptr, d, near);
}
operation tree::del(std::string_view key, std::string* old_value, durability d, cookie* near) {
  return write(state_, btree::change::DELETE, key, {}, old_value, d, near);
}

}  // namespace pleach
