// Operations on one tree, as public operations around read_op and write_op.
#include "store/state.hh"

namespace pleach {

using internal::body;
using internal::check_tree;
using internal::fits;
using internal::given_key;
using internal::has_integers;
using internal::operation_access;
using internal::tree_state;
using internal::turn_found;

namespace {

class read_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  given_key key, bound;
  std::string* found = nullptr;
  btree::read_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.page = op.bad_page().raw;
    if (a.code == 0) turn_found(tree->open->t, found);
  }
};

/// A read that shows the value to a function of the caller.
class visit_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  viewer fn = nullptr;
  void* datum = nullptr;
  given_key key;
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

btree::verdict verdict_of(edit e) {
  switch (e) {
    case edit::store:
      return btree::verdict::STORE;
    case edit::erase:
      return btree::verdict::ERASE;
    case edit::keep:
      return btree::verdict::KEEP;
    case edit::fail:
      break;
  }
  return btree::verdict::FAIL;
}

/// A write that a function of the caller decides.
class modify_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  pleach::editor fn = nullptr;
  void* datum = nullptr;
  given_key key;
  btree::write_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override { internal::tell_write(a, op); }

  static btree::verdict decide(void* self, bool present, std::string& value) {
    auto& b = *static_cast<modify_body*>(self);
    try {
      return verdict_of(b.fn(b.datum, present, value));
    } catch (...) {
      ++b.tree->store->c->callbacks_failed;
    }
    return btree::verdict::FAIL;
  }
};

/// Rewrites of all leaves.
class upgrade_body final : public body {
 public:
  std::shared_ptr<void> owner;
  std::unique_ptr<btree::upgrade_op> op = std::make_unique<btree::upgrade_op>();
  sm::op& engine_op() override { return *op; }
  void finish(answer& a) override { a.page = op->bad_page().raw; }
};

/// A modify of every record.
class edit_all_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  record_editor fn = nullptr;
  void* datum = nullptr;
  std::uint64_t* changed = nullptr;
  std::unique_ptr<btree::edit_all_op> op = std::make_unique<btree::edit_all_op>();
  sm::op& engine_op() override { return *op; }
  void finish(answer& a) override {
    a.page = op->bad_page().raw;
    *changed = op->so_far().changed;
  }

  static btree::verdict decide(void* self, cbytes key, std::string& value) {
    auto& b = *static_cast<edit_all_body*>(self);
    try {
      if (!internal::has_integers(b.tree->open->t))
        return verdict_of(b.fn(b.datum, as_text(key), value));
      std::string turned(as_text(key));
      turn_found(b.tree->open->t, &turned);
      return verdict_of(b.fn(b.datum, turned, value));
    } catch (...) {
      ++b.tree->store->c->callbacks_failed;
    }
    return btree::verdict::FAIL;
  }
};

class flags_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  record_flags* flags = nullptr;
  u8 byte = 0;
  internal::given_key key;
  btree::read_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.page = op.bad_page().raw;
    if (a.code == 0) *flags = internal::flags_from(byte);
  }
};

class write_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  given_key key;
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
    if (a.code != 0 || !misfit_) return;
    a.code = static_cast<u32>(errc::wrong_key_length);
    a.wanted_bytes = misfit_->wanted_bytes;
    a.given_bytes = misfit_->given_bytes;
  }
  u32 count() const override { return static_cast<u32>(lookups.size()); }
  wish at(u32 i) override { return {key_of(i), lookups[i].value}; }
  void settle(u32 i, errc code, lsn_t lsn, page_addr bad) override {
    lookup& l = lookups[i];
    l.result = {static_cast<u32>(code), lsn, bad.raw};
    const btree::tree& t = tree->open->t;
    if (!has_integers(t)) return;
    for (turned& k : turned_)
      if (k.user == i) k.user = no_one;
    if (code != errc::not_found || fits(t, l.key, false)) return;
    l.result.code = static_cast<u32>(errc::wrong_key_length);
    l.result.wanted_bytes = t.key_bytes;
    l.result.given_bytes = static_cast<u32>(l.key.size());
    if (!misfit_) misfit_ = &l.result;
  }

 private:
  /// An integer whose lookup is under way: one for each lane.
  struct turned {
    u32 user = no_one;  ///< number of the lookup
    std::byte key[btree::max_integer_bytes];
  };
  static constexpr u32 no_one = ~u32{0};

  /// A key that is no integer of the tree is not found in it; `settle` says why.
  cbytes key_of(u32 i) {
    const btree::tree& t = tree->open->t;
    const std::string_view key = lookups[i].key;
    if (!has_integers(t) || !fits(t, key, false)) return as_bytes(key);
    turned* to = nullptr;
    for (turned& k : turned_) {
      if (k.user == i) return {k.key, key.size()};
      if (k.user == no_one) to = &k;
    }
    PLEACH_ASSERT(to != nullptr);
    to->user = i;
    internal::turn_in(t, key.data(), to->key);
    return {to->key, key.size()};
  }

  turned turned_[btree::multi_get_op::max_lanes];
  const answer* misfit_ = nullptr;
};

class count_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  std::uint64_t* n = nullptr;
  given_key from, to;
  btree::count_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.page = op.bad_page().raw;
    *n = op.counted();
  }
};

class sum_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  std::uint64_t* n = nullptr;
  range_digest* digest = nullptr;
  std::string* found = nullptr;
  given_key from, to;
  btree::aggregate_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.page = op.bad_page().raw;
    if (a.code == 0) turn_found(tree->open->t, found);
    if (n != nullptr) *n = op.sum().count;
    if (digest != nullptr && a.code == 0)
      *digest = {op.sum().count, op.sum().digest_low, op.sum().digest_high};
  }
};

/// Counts the keys in [from, to); `to` null: no bound.
operation count_range(const std::shared_ptr<tree_state>& t, std::string_view from,
                      const std::string_view* to, std::uint64_t& n) {
  internal::store_state* s = t ? t->store.get() : nullptr;
  n = 0;
  if (errc e = check_tree(t, false); !is_ok(e)) return operation_access::refuse(s, e);
  btree::tree& open = t->open->t;
  if (!fits(open, from, true)) return operation_access::refuse_key(*t, from);
  if (to && !fits(open, *to, true)) return operation_access::refuse_key(*t, *to);
  const auto set = [&](auto& b) {
    b.tree = t;
    b.n = &n;
    b.from.set(open, from);
    if (to) b.to.set(open, *to);
    return b.to.bytes();
  };
  if (open.counted)
    return operation_access::with<sum_body>(s, [&](sum_body& b) {
      const cbytes bound = set(b);
      b.op.prepare_sum(open, b.from.bytes(), to ? &bound : nullptr, false);
    });
  return operation_access::with<count_body>(s, [&](count_body& b) {
    const cbytes bound = set(b);
    b.op.prepare(open, b.from.bytes(), to ? &bound : nullptr);
  });
}

/// Large: on the heap, not in the operation's room.
class cut_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  internal::given_key from, to;
  std::unique_ptr<btree::cut_op> op;
  sm::op& engine_op() override { return *op; }
  void finish(answer& a) override { a.page = op->bad_page().raw; }
};

/// `bound`: null: none.
operation read_one(const std::shared_ptr<tree_state>& t, btree::seek mode, std::string_view key,
                   const btree::read_op::sink& to, const std::string_view* bound = nullptr,
               cookie* near = nullptr) {
  internal::store_state* s = t ? t->store.get() : nullptr;
  if (errc e = check_tree(t, false); !is_ok(e)) return operation_access::refuse(s, e);
  btree::tree& engine_tree = t->open->t;
  if (!fits(engine_tree, key, mode != btree::seek::EXACT))
    return operation_access::refuse_key(*t, key);
  if (bound && !fits(engine_tree, *bound, true)) return operation_access::refuse_key(*t, *bound);
  return operation_access::with<read_body>(s, [&](read_body& b) {
    b.tree = t;
    b.key.set(engine_tree, key);
    b.found = to.key;
    b.op.prepare(engine_tree, mode, b.key.bytes(), to, operation_access::engine_cookie(near));
    if (!bound) return;
    b.bound.set(engine_tree, *bound);
    b.op.bound(b.bound.bytes());
  });
}

operation write(const std::shared_ptr<tree_state>& t, btree::change kind, std::string_view key,
                std::string_view value, std::string* old_value, durability d, cookie* near) {
  internal::store_state* s = t ? t->store.get() : nullptr;
  if (errc e = check_tree(t, true); !is_ok(e)) return operation_access::refuse(s, e);
  if (!fits(t->open->t, key, false)) return operation_access::refuse_key(*t, key);
  return operation_access::with<write_body>(s, [&](write_body& b) {
    b.tree = t;
    b.key.set(t->open->t, key);
    b.op.prepare(t->open->t, kind, b.key.bytes(), as_bytes(value), old_value,
                 d == durability::durable, operation_access::engine_cookie(near));
  });
}

operation cut(const std::shared_ptr<tree_state>& t, std::string_view from, std::string_view to,
              std::uint64_t& n, const btree::cut_op::options& o) {
  internal::store_state* s = t ? t->store.get() : nullptr;
  n = 0;
  if (errc e = check_tree(t, true); !is_ok(e)) return operation_access::refuse(s, e);
  for (std::string_view key : {from, to})
    if (!fits(t->open->t, key, true)) return operation_access::refuse_key(*t, key);
  return operation_access::with<cut_body>(s, [&](cut_body& b) {
    store_layer::core& c = *t->store->c;
    b.tree = t;
    b.op = std::make_unique<btree::cut_op>(*c.ctx);
    b.from.set(t->open->t, from);
    b.to.set(t->open->t, to);
    const cbytes bound = b.to.bytes();
    b.op->prepare(t->open->t, *c.catalogue, b.from.bytes(), to.empty() ? nullptr : &bound, n, o);
  });
}

}  // namespace

operation internal::upgrade(store_state* s, btree::tree& t, std::shared_ptr<void> owner,
                            upgrade_report& report) {
  return operation_access::with<upgrade_body>(s, [&](upgrade_body& b) {
    b.owner = std::move(owner);
    b.op->prepare(t, report.leaves, report.converted);
  });
}

const std::string& tree::name() const {
  static const std::string none;
  return state_ ? state_->open->t.name : none;
}
std::uint64_t tree::id() const { return state_ ? state_->open->t.id : 0; }
std::uint32_t tree::key_bytes() const { return state_ ? state_->open->t.key_bytes : 0; }
std::uint32_t tree::value_bytes() const { return state_ ? state_->open->t.value_bytes : 0; }
key_order tree::order() const {
  return state_ ? static_cast<key_order>(state_->open->t.order_number) : key_order::raw;
}

bool tree::has_counts() const {
  return state_ && state_->open->t.counted;
}
bool tree::has_digest() const {
  return state_ && state_->open->t.digest;
}

std::string range_digest::text() const {
  std::string out;
  for (std::uint64_t half : {high, low})
    for (int shift = 60; shift >= 0; shift -= 4) out += "0123456789abcdef"[half >> shift & 15];
  return out;
}

range_digest digest_of(std::string_view key, std::string_view value) {
  const btree::aggregate a =
      btree::record_sum(as_bytes(key), value.size(), hash64(as_bytes(value)));
  return {a.count, a.digest_low, a.digest_high};
}

operation tree::visit(std::string_view key, viewer fn, void* datum) {
  internal::store_state* s = state_ ? state_->store.get() : nullptr;
  if (errc e = check_tree(state_, false); !is_ok(e)) return operation_access::refuse(s, e);
  if (fn == nullptr) return operation_access::refuse(s, errc::bad_argument);
  if (!fits(state_->open->t, key, false)) return operation_access::refuse_key(*state_, key);
  return operation_access::with<visit_body>(s, [&](visit_body& b) {
    b.tree = state_;
    b.fn = fn;
    b.datum = datum;
    b.key.set(state_->open->t, key);
    b.op.prepare(state_->open->t, btree::seek::EXACT, b.key.bytes(),
                 {nullptr, &b.large, nullptr, nullptr, &visit_body::see, &b});
  });
}
operation tree::modify(std::string_view key, std::string& value, editor fn, void* datum,
                       durability d) {
  internal::store_state* s = state_ ? state_->store.get() : nullptr;
  if (errc e = check_tree(state_, true); !is_ok(e)) return operation_access::refuse(s, e);
  if (fn == nullptr) return operation_access::refuse(s, errc::bad_argument);
  if (!fits(state_->open->t, key, false)) return operation_access::refuse_key(*state_, key);
  return operation_access::with<modify_body>(s, [&](modify_body& b) {
    b.tree = state_;
    b.fn = fn;
    b.datum = datum;
    b.key.set(state_->open->t, key);
    b.op.prepare_modify(state_->open->t, b.key.bytes(), {&modify_body::decide, &b, &value},
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
  return count_range(state_, from, to.empty() ? nullptr : &to, n);
}
operation tree::rank(std::string_view key, std::uint64_t& n) {
  return count_range(state_, {}, &key, n);
}
operation tree::select(std::uint64_t index, std::string& key, std::string& value) {
  internal::store_state* s = state_ ? state_->store.get() : nullptr;
  if (errc e = check_tree(state_, false); !is_ok(e)) return operation_access::refuse(s, e);
  return operation_access::with<sum_body>(s, [&](sum_body& b) {
    b.tree = state_;
    b.found = &key;
    b.op.prepare_select(state_->open->t, index, key, &value);
  });
}
operation tree::digest(std::string_view from, std::string_view to, range_digest& out) {
  internal::store_state* s = state_ ? state_->store.get() : nullptr;
  if (errc e = check_tree(state_, false); !is_ok(e)) return operation_access::refuse(s, e);
  for (std::string_view key : {from, to})
    if (!fits(state_->open->t, key, true)) return operation_access::refuse_key(*state_, key);
  return operation_access::with<sum_body>(s, [&](sum_body& b) {
    b.tree = state_;
    b.digest = &out;
    b.from.set(state_->open->t, from);
    b.to.set(state_->open->t, to);
    const cbytes bound = b.to.bytes();
    b.op.prepare_sum(state_->open->t, b.from.bytes(), to.empty() ? nullptr : &bound, true);
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
operation tree::upsert(std::string_view key, std::string_view value, record_flags flags,
                       durability d) {
  internal::store_state* s = state_ ? state_->store.get() : nullptr;
  errc e = check_tree(state_, true);
  if (is_ok(e) && !internal::flags_valid(flags)) e = errc::bad_argument;
  if (!is_ok(e)) return operation_access::refuse(s, e);
  if (!fits(state_->open->t, key, false)) return operation_access::refuse_key(*state_, key);
  return operation_access::with<write_body>(s, [&](write_body& b) {
    b.tree = state_;
    b.key.set(state_->open->t, key);
    b.op.prepare(state_->open->t, btree::change::UPSERT, b.key.bytes(), as_bytes(value), nullptr,
                 d == durability::durable);
    b.op.state_flags(internal::flags_to(flags));
  });
}
operation tree::get(std::string_view key, std::string& value, record_flags& flags) {
  internal::store_state* s = state_ ? state_->store.get() : nullptr;
  if (errc e = check_tree(state_, false); !is_ok(e)) return operation_access::refuse(s, e);
  if (!fits(state_->open->t, key, false)) return operation_access::refuse_key(*state_, key);
  return operation_access::with<flags_body>(s, [&](flags_body& b) {
    b.tree = state_;
    b.flags = &flags;
    b.key.set(state_->open->t, key);
    b.op.prepare(state_->open->t, btree::seek::EXACT, b.key.bytes(),
                 {.value = &value, .user_flags = &b.byte});
  });
}
operation tree::upgrade(upgrade_report& report) {
  internal::store_state* s = state_ ? state_->store.get() : nullptr;
  report = {};
  if (errc e = check_tree(state_, true); !is_ok(e)) return operation_access::refuse(s, e);
  return internal::upgrade(s, state_->open->t, state_, report);
}
operation tree::edit_all(record_editor fn, void* datum, std::uint64_t& changed) {
  internal::store_state* s = state_ ? state_->store.get() : nullptr;
  changed = 0;
  if (errc e = check_tree(state_, true); !is_ok(e)) return operation_access::refuse(s, e);
  if (fn == nullptr) return operation_access::refuse(s, errc::bad_argument);
  return operation_access::with<edit_all_body>(s, [&](edit_all_body& b) {
    b.tree = state_;
    b.fn = fn;
    b.datum = datum;
    b.changed = &changed;
    b.op->prepare(state_->open->t, {&edit_all_body::decide, &b});
  });
}
operation tree::del(std::string_view key, std::string* old_value, durability d, cookie* near) {
  return write(state_, btree::change::DELETE, key, {}, old_value, d, near);
}

operation tree::delete_range(std::string_view from, std::string_view to, std::uint64_t& n,
                             durability d) {
  return cut(state_, from, to, n, {.durable = d == durability::durable});
}

operation tree::truncate(std::uint32_t pages, std::uint64_t& n, std::uint64_t steps, durability d) {
  static_assert(truncate_pages_max == btree::cut_op::max_leaves);
  if (pages == 0 || pages > truncate_pages_max) {
    n = 0;
    return operation_access::refuse(state_ ? state_->store.get() : nullptr, errc::bad_argument);
  }
  return cut(state_, {}, {}, n,
             {.durable = d == durability::durable,
              .hold = false,
              .leaves = pages,
              .steps = steps == 0 ? ~u64{0} : steps});
}

}  // namespace pleach
