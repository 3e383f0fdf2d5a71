// A cursor keeps a copy of the leaf it stands in: steps inside an unchanged leaf need no operation.
#include <algorithm>

#include "store/state.hh"

namespace pleach {

using internal::body;
using internal::operation_access;
using internal::tree_state;

struct cursor::state {
  enum class place { NOWHERE, AT, BEFORE_FIRST, BEHIND_LAST };
  std::shared_ptr<tree_state> tree;
  std::unique_ptr<std::byte[]> room;
  btree::leaf_copy copy;
  btree::leaf_cookie cookie{};
  btree::read_ahead ahead;  ///< of steps in one direction without a seek between them
  bool ahead_forward = true;
  place at = place::NOWHERE;
  std::string key, value;  ///< `value`: of a large value; inline values are seen in the copy
  std::string landed;      ///< the key where a move ends
  std::string_view key_view, value_view;   ///< what the caller sees
  std::string from, to;                    ///< the range; `to` empty: no bound
  std::string sought;                      ///< of the move under way
  char integer[btree::max_integer_bytes];  ///< `key` as the caller knows it
  btree::length_fault misfit;              ///< of a bound of the range
  // All keys but `integer` are as the engine keeps them.

  bool has_integers() const {
    return tree != nullptr && tree->open != nullptr && internal::has_integers(tree->open->t);
  }
  /// RETURNS: `given` as the engine keeps it, in `to_room` where it is an integer.
  std::string_view turned(std::string_view given, std::string& to_room) const {
    if (!has_integers() || given.size() != tree->open->t.key_bytes) return given;
    to_room.resize(given.size());
    internal::turn_in(tree->open->t, given.data(), reinterpret_cast<std::byte*>(to_room.data()));
    return to_room;
  }
  /// Both as the engine keeps them.
  bool before(std::string_view a, std::string_view b) const {
    const btree::registered_order* order =
        tree != nullptr && tree->open != nullptr ? tree->open->t.order : nullptr;
    return btree::compare_in(order, as_bytes(a), as_bytes(b)) < 0;
  }
  /// The cursor stands at `key` now.
  void arrive() {
    at = place::AT;
    key_view = key;
    if (!has_integers() || key.size() != tree->open->t.key_bytes) return;
    std::memcpy(integer, key.data(), key.size());
    internal::turn_out(tree->open->t, integer);
    key_view = {integer, key.size()};
  }

  btree::node_view view() const { return btree::node_view(page_reader(copy.bytes, copy.size)); }
  /// Is the key or the value of this record of the copy an extent?
  static bool has_extent(const btree::node_view& leaf, const btree::record& r) {
    return (r.value_flags & btree::VALUE_INDIRECT) != 0 ||
           leaf.prefix().size() + r.key_suffix.size() > btree::max_inline_key_bytes;
  }
  /// The cursor stands at this record of the copy now.
  /// REQUIRES: it has no extent.
  void take(const btree::node_view& leaf, const btree::record& r) {
    const cbytes prefix = leaf.prefix();
    key.resize(prefix.size() + r.key_suffix.size());
    if (!prefix.empty()) std::memcpy(key.data(), prefix.data(), prefix.size());
    std::memcpy(key.data() + prefix.size(), r.key_suffix.data(), r.key_suffix.size());
    value_view = as_text(r.value);
    arrive();
  }
  /// Is the record at `index` of the copy in the range?
  /// REQUIRES: the tree is open.
  bool in_range(u32 index) const {
    if (from.empty() && to.empty()) return true;
    const btree::node_view leaf(page_reader(copy.bytes, copy.size), tree->open->t.order);
    return (from.empty() || leaf.compare(index, as_bytes(from)) >= 0) &&
           (to.empty() || leaf.compare(index, as_bytes(to)) < 0);
  }
  /// Moves to the neighbour, if it is in the copy, whole.
  /// RETURNS: false if not, or if its checksums are wrong: the page may be sound where the copy is
  /// not. An operation looks there.
  bool step(bool forward) {
    if (!usable()) return false;
    const btree::node_view leaf = view();
    const u32 index = forward ? copy.index + 1 : copy.index - 1;
    if (index >= leaf.count()) return false;
    const btree::record r = leaf.at(index);
    if (has_extent(leaf, r) || !in_range(index)) return false;
    if (!btree::record_sound(tree->open->t, leaf, index)) return false;
    copy.index = index;
    take(leaf, r);
    return true;
  }
  operation refused(errc e) const {
    return operation_access::refuse(tree ? tree->store.get() : nullptr, e);
  }
  bool usable() const {
    return at == place::AT && is_ok(internal::check_tree(tree, false)) && copy.current();
  }
};

namespace {

/// Moves the cursor: reads the target leaf, then takes the record from the copy.
template <class State>
class move_body final : public body {
 public:
  State* cursor = nullptr;
  bool forward = true;
  std::shared_ptr<tree_state> tree;
  btree::read_op op;
  sm::op& engine_op() override { return op; }
  void finish(answer& a) override {
    a.page = op.bad_page().raw;
    State& s = *cursor;
    if (a.code == 0) {
      const btree::node_view leaf = s.view();
      const btree::record r = leaf.at(s.copy.index);
      if (State::has_extent(leaf, r)) {
        std::swap(s.key, s.landed);
        s.value_view =
            r.value_flags & btree::VALUE_INDIRECT ? std::string_view(s.value) : as_text(r.value);
        s.arrive();
      } else {
        s.take(leaf, r);
      }
    } else if (a.code == static_cast<u32>(errc::not_found)) {
      s.at = forward ? State::place::BEHIND_LAST : State::place::BEFORE_FIRST;
    } else {
      // Cancelled or failed half-way: the copy may be of the target already, the position is still
      // the key.
      s.copy.source = nullptr;
      s.value_view = {};
    }
  }
};

/// `step`: from the present position to its neighbour.
template <class State>
operation move(State& s, btree::seek mode, std::string_view key, bool forward, bool step = false) {
  internal::store_state* store = s.tree ? s.tree->store.get() : nullptr;
  if (errc e = internal::check_tree(s.tree, false); !is_ok(e)) return s.refused(e);
  if (s.misfit.wanted != 0)
    return operation_access::refuse(store, errc::wrong_key_length, s.misfit);
  if (!s.room) {
    u32 bytes = s.tree->store->c->ctx->scratch_bytes;
    s.room = std::make_unique_for_overwrite<std::byte[]>(bytes);
    s.copy.bytes = s.room.get();
  }
  if (!step || s.ahead_forward != forward) s.ahead.forget();
  s.ahead_forward = forward;
  return operation_access::with<move_body<State>>(store, [&](move_body<State>& b) {
    b.cursor = &s;
    b.forward = forward;
    b.tree = s.tree;
    b.op.prepare(s.tree->open->t, mode, as_bytes(key), {&s.landed, &s.value, &s.copy}, &s.cookie);
    if (!forward && !s.from.empty()) b.op.bound(as_bytes(s.from));
    if (forward && !s.to.empty()) b.op.bound(as_bytes(s.to));
    if (step) b.op.follow(s.ahead);
  });
}

}  // namespace

cursor::cursor(const tree& t) : state_(std::make_unique<state>()) {
  state_->tree = operation_access::state_of(t);
}
cursor::~cursor() = default;

void cursor::range(std::string_view from, std::string_view to) {
  state& s = *state_;
  std::string room;
  s.from = s.turned(from, room);
  s.to = s.turned(to, room);
  s.at = state::place::NOWHERE;
  s.misfit = {};
  if (!s.has_integers()) return;
  for (std::string_view key : {from, to})
    if (!internal::fits(s.tree->open->t, key, true))
      s.misfit = {s.tree->open->t.key_bytes, static_cast<u32>(key.size())};
}

operation cursor::seek(std::string_view key) {
  state& s = *state_;
  if (errc e = internal::check_tree(s.tree, false); !is_ok(e)) return s.refused(e);
  if (s.has_integers() && !internal::fits(s.tree->open->t, key, true))
    return operation_access::refuse_key(*s.tree, key);
  key = s.turned(key, s.sought);
  if (s.before(key, s.from)) key = s.from;
  return move(s, btree::seek::AT_LEAST, key, true);
}
operation cursor::seek_at_most(std::string_view key) {
  state& s = *state_;
  if (errc e = internal::check_tree(s.tree, false); !is_ok(e)) return s.refused(e);
  if (s.has_integers() && !internal::fits(s.tree->open->t, key, true))
    return operation_access::refuse_key(*s.tree, key);
  key = s.turned(key, s.sought);
  if (!s.to.empty() && !s.before(key, s.to)) return last();
  return move(s, btree::seek::AT_MOST, key, false);
}
operation cursor::first() {
  return move(*state_, btree::seek::AT_LEAST, state_->from, true);
}
operation cursor::last() {
  const std::string& to = state_->to;
  return move(*state_, to.empty() ? btree::seek::LAST : btree::seek::BEFORE, to, false);
}

operation cursor::next() {
  state& s = *state_;
  switch (s.at) {
    case state::place::AT:
      s.sought = s.key;
      return move(s, btree::seek::AFTER, s.sought, true, true);
    case state::place::BEHIND_LAST:
      return s.refused(errc::not_found);
    default:
      return first();
  }
}

operation cursor::prev() {
  state& s = *state_;
  switch (s.at) {
    case state::place::AT:
      s.sought = s.key;
      return move(s, btree::seek::BEFORE, s.sought, false, true);
    case state::place::BEFORE_FIRST:
      return s.refused(errc::not_found);
    default:
      return last();
  }
}

bool cursor::try_next() {
  return state_->step(true);
}
bool cursor::try_prev() {
  return state_->step(false);
}

bool cursor::valid() const {
  return state_->at == state::place::AT;
}
std::string_view cursor::key() const {
  return valid() ? state_->key_view : std::string_view{};
}
record_flags cursor::flags() const {
  if (!valid() || state_->copy.source == nullptr) return {};
  return internal::flags_from(btree::user_flags_of(state_->view().at(state_->copy.index)));
}
std::string_view cursor::value() const {
  return valid() ? state_->value_view : std::string_view{};
}

}  // namespace pleach
