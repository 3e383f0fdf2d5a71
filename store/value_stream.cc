// Large values piece by piece: ranged reads, value_reader, value_writer.
#include "btree/value_patch.hh"
#include "store/state.hh"

namespace pleach {

using internal::body;
using internal::check_tree;
using internal::operation_access;
using internal::tree_state;

namespace {

class range_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  btree::value_range own;
  btree::value_range* range = nullptr;
  std::size_t* got = nullptr;
  internal::given_key key;
  btree::read_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.page = op.bad_page().raw;
    *got = a.code == 0 ? range->got : 0;
  }
};

}  // namespace

operation internal::read_range(const std::shared_ptr<tree_state>& t, std::string_view key,
                               u64 offset, std::span<char> out, std::size_t& got,
                               btree::value_range* range) {
  store_state* s = t ? t->store.get() : nullptr;
  got = 0;
  if (errc e = check_tree(t, false); !is_ok(e)) return operation_access::refuse(s, e);
  if (!internal::fits(t->open->t, key, false)) return operation_access::refuse_key(*t, key);
  return operation_access::with<range_body>(s, [&](range_body& b) {
    b.tree = t;
    b.range = range ? range : &b.own;
    b.range->offset = offset;
    b.range->to = {reinterpret_cast<std::byte*>(out.data()), out.size()};
    b.got = &got;
    btree::read_op::sink to;
    to.range = b.range;
    b.key.set(t->open->t, key);
    b.op.prepare(t->open->t, btree::seek::EXACT, b.key.bytes(), to);
  });
}

// --- reading ---

struct value_reader::state {
  std::shared_ptr<tree_state> tree;
  std::string key;
  btree::value_range range;
};

value_reader::value_reader(const tree& t, std::string_view key)
    : state_(std::make_unique<state>()) {
  state_->tree = operation_access::state_of(t);
  state_->key = key;
}
value_reader::~value_reader() = default;

operation value_reader::read(std::uint64_t offset, std::span<char> out, std::size_t& got) {
  return internal::read_range(state_->tree, state_->key, offset, out, got, &state_->range);
}

std::uint64_t value_reader::size() const {
  return state_->range.pinned ? state_->range.total : 0;
}

// --- writing ---

struct value_writer::state {
  std::shared_ptr<tree_state> tree;
  std::string key;  ///< as the engine keeps it, once it has begun
  btree::value_draft whole;
  std::unique_ptr<btree::value_patch> patch;  ///< of a value that is there, instead
  bool begun = false, committed = false;
  u32 writing = 0;  ///< writes under way

  btree::value_draft& draft() { return patch ? patch->draft : whole; }
  void begin(const pleach::tree& t, std::string_view k, u64 expected_bytes);
};

namespace {

class append_body final : public body {
 public:
  u32* writing = nullptr;
  bool begun = false;
  btree::draft_op op;
  sm::op& engine_op() override { return op; }
  void begin() override {
    ++*writing;
    begun = true;
  }
  void finish(answer&) override {
    if (begun) --*writing;
  }
};

class patch_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  btree::patch_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.page = op.bad_page().raw;
    a.wanted_bytes = op.wrong_length().wanted;
    a.given_bytes = op.wrong_length().given;
  }
};

class commit_body final : public body {
 public:
  std::shared_ptr<tree_state> tree;
  btree::value_draft* draft = nullptr;
  const u32* writing = nullptr;
  btree::write_item item;
  btree::write_op op;
  sm::op& engine_op() override { return op; }
  void begin() override {
    if (*writing != 0) return op.refuse(errc::invalid);
    if (errc e = draft->broken(); !is_ok(e)) return op.refuse(e);
    // Less than a chunk is still in memory: a value like any other.
    if (draft->outside())
      item.draft = draft;
    else
      item.value = draft->small();
  }
  void finish(answer& a) override { internal::tell_write(a, op); }
};

}  // namespace

void value_writer::state::begin(const pleach::tree& t, std::string_view k, u64 expected_bytes) {
  tree = operation_access::state_of(t);
  key = k;
  if (!is_ok(check_tree(tree, true))) return;
  btree::tree& open = tree->open->t;
  // A key that does not fit is refused by the commit.
  if (internal::has_integers(open) && key.size() == open.key_bytes)
    internal::turn_in(open, k.data(), reinterpret_cast<std::byte*>(key.data()));
  draft().begin(*open.ctx, open.id, as_bytes(key), expected_bytes, open.digest);
  begun = true;
  if (!patch) return;
  patch->t = &open;
  patch->key = as_bytes(key);
}

value_writer::value_writer(const tree& t, std::string_view key, std::uint64_t expected_bytes)
    : state_(std::make_unique<state>()) {
  state_->begin(t, key, expected_bytes);
}

value_writer::value_writer(const tree& t, std::string_view key, write_at where)
    : state_(std::make_unique<state>()) {
  static_assert(static_cast<u64>(write_at::end) == btree::value_end);
  state_->patch = std::make_unique<btree::value_patch>();
  state_->patch->at = static_cast<u64>(where);
  state_->begin(t, key, 0);
}

value_writer::~value_writer() {
  state& s = *state_;
  if (!s.begun) return;
  bool engine_lives = s.tree->store->c != nullptr && !s.tree->store->c->closed;
  if (engine_lives)
    s.draft().give_back();
  else
    s.draft().abandon();
}

operation value_writer::write(std::span<const char> more) {
  state& s = *state_;
  internal::store_state* store = s.tree ? s.tree->store.get() : nullptr;
  errc e = check_tree(s.tree, true);
  if (is_ok(e) && (!s.begun || s.committed)) e = errc::invalid;
  if (!is_ok(e)) return operation_access::refuse(store, e);
  if (s.patch && !internal::fits(s.tree->open->t, s.key, false))
    return operation_access::refuse_key(*s.tree, s.key);
  if (s.patch)
    return operation_access::with<patch_body>(store, [&](patch_body& b) {
      b.tree = s.tree;
      b.op.prepare(*s.patch, std::as_bytes(more));
    });
  return operation_access::with<append_body>(store, [&](append_body& b) {
    b.writing = &s.writing;
    b.op.prepare(s.whole, std::as_bytes(more), false);
  });
}

operation value_writer::commit(durability d) {
  state& s = *state_;
  internal::store_state* store = s.tree ? s.tree->store.get() : nullptr;
  errc e = check_tree(s.tree, true);
  if (is_ok(e) && (!s.begun || s.committed)) e = errc::invalid;
  if (!is_ok(e)) return operation_access::refuse(store, e);
  s.committed = true;
  if (s.patch)
    return operation_access::with<patch_body>(store, [&](patch_body& b) {
      b.tree = s.tree;
      b.op.prepare_commit(*s.patch, d == durability::durable);
    });
  return operation_access::with<commit_body>(store, [&](commit_body& b) {
    b.tree = s.tree;
    b.item.t = &s.tree->open->t;
    b.item.kind = btree::change::UPSERT;
    b.item.key = as_bytes(s.key);
    b.draft = &s.whole;
    b.writing = &s.writing;
    b.op.prepare(*s.tree->open->t.ctx, {&b.item, 1}, d == durability::durable);
  });
}

std::uint64_t value_writer::size() const {
  return state_->patch ? state_->patch->given : state_->whole.length();
}

}  // namespace pleach
