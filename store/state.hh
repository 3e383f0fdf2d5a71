// What stands behind the public classes. Private to store/.
#pragma once

#include <new>

#include "btree/aggregate_op.hh"
#include "btree/count_op.hh"
#include "btree/cut_op.hh"
#include "btree/edit_all_op.hh"
#include "btree/multi_get_op.hh"
#include "btree/read_op.hh"
#include "btree/record_extras.hh"
#include "btree/upgrade_op.hh"
#include "btree/write_op.hh"
#include "pleach/pleach.hh"
#include "store/core.hh"
#include "store/key_order.hh"

namespace pleach::internal {

using store_layer::core;
using store_layer::open_tree;

/// limits().transaction_records
inline constexpr u64 max_batch_records = 10'000;

struct store_state {
  std::shared_ptr<core> c;
  u64 in_flight = 0;  ///< operations started and not done
  bool closing = false;   ///< no operation starts any more
  bool checking = false;  ///< none starts before the check is done
  std::string path;

  /// RETURNS: ok, or why this call is not allowed here: another thread, a forked child, a closed
  /// store.
  errc check_caller();
  /// The same for a call that polls until it is done: not inside a callback either.
  errc check_blocking();
};

struct tree_state {
  std::shared_ptr<open_tree> open;
  std::shared_ptr<store_state> store;
};

/// What an operation's room holds: the engine's op, and what has to be done around it.
class body {
 public:
  virtual ~body() = default;
  virtual sm::op& engine_op() = 0;
  /// Runs when the operation starts: for what may change between its making and its start.
  virtual void begin() {}
  /// Runs when the op is DONE, before the caller's callback. `a` has code and lsn already.
  virtual void finish(answer& a) { (void)a; }
};

/// The door between the public classes and what is behind them.
struct operation_access {
  static store make_store(std::shared_ptr<store_state> s);
  static std::shared_ptr<store_state>& state_of(store& s) { return s.state_; }
  static const std::shared_ptr<tree_state>& state_of(const tree& t) { return t.state_; }
  static void set(tree& t, std::shared_ptr<tree_state> s) { t.state_ = std::move(s); }
  /// The engine's view of a cookie; null for null.
  static btree::leaf_cookie* engine_cookie(cookie* c) {
    static_assert(sizeof(btree::leaf_cookie) == sizeof c->state_ &&
                  std::is_trivially_copyable_v<btree::leaf_cookie>);
    return c ? std::launder(reinterpret_cast<btree::leaf_cookie*>(c->state_)) : nullptr;
  }
  static body& body_of(operation& o) { return *std::launder(reinterpret_cast<body*>(o.room_)); }
  static store_state* store_of(operation& o) { return o.store_; }
  static void complete(operation& o);
  static void call_back(operation& o);
  /// `begin` and `end` bracket the life of an operation that has started. One that may not is done
  /// when `begin` returns why.
  static errc begin(operation& o);
  static void end(operation& o);

  /// Makes an operation around a `Body`, which `init` prepares.
  template <class Body, class Init>
  static operation with(store_state* s, Init init) {
    static_assert(sizeof(Body) <= operation::room_bytes && alignof(Body) <= 16);
    return operation(
        s,
        [](operation& o, void* context) {
          auto* b = new (o.room_) Body;
          (*static_cast<Init*>(context))(*b);
        },
        &init);
  }
  /// An operation that ends with `code` without having done anything.
  static operation refuse(store_state* s, errc code, btree::length_fault lengths = {},
                          const char* missing = nullptr);
  /// The same for a key that does not fit the tree (store/key_order.hh).
  static operation refuse_key(const tree_state& t, std::string_view key) {
    return refuse(t.store.get(), errc::wrong_key_length,
                  {t.open->t.key_bytes, static_cast<u32>(key.size())});
  }
};

inline io::backend backend_of(device_kind k) {
  switch (k) {
    case device_kind::uring:
      return io::backend::URING;
    case device_kind::threads:
      return io::backend::THREADS;
    case device_kind::automatic:
      break;
  }
  return io::backend::AUTO;
}

/// Is the store open?
inline bool live(const store_state* s) {
  return s && s->c && !s->c->closed;
}
/// RETURNS: why an operation on `t` cannot even start, or ok.
inline errc check_tree(const std::shared_ptr<tree_state>& t, bool writes) {
  if (t == nullptr || t->open == nullptr || !live(t->store.get()) || t->open->t.dropped)
    return errc::tree_closed;
  return writes && t->store->c->options.read_only ? errc::read_only : errc::ok;
}
/// A ranged read; `range`: of a reader that goes on with one value, or null.
operation read_range(const std::shared_ptr<tree_state>& t, std::string_view key, u64 offset,
                     std::span<char> out, std::size_t& got, btree::value_range* range);
/// The public view of a record's flags, and back.
inline record_flags flags_from(u8 byte) {
  return {static_cast<u8>(byte & 15), static_cast<u8>(byte >> 4)};
}
inline bool flags_valid(record_flags f) {
  return f.key < 16 && f.value < 16;
}
inline u8 flags_to(record_flags f) {
  return static_cast<u8>(f.key | f.value << 4);
}
/// tree::upgrade of any tree. `owner`: what keeps it open.
operation upgrade(store_state* s, btree::tree& t, std::shared_ptr<void> owner,
                  upgrade_report& report);
error public_error(const store_layer::trouble& t);
inline std::unexpected<error> refuse(errc code, std::string message) {
  return std::unexpected<error>(error{static_cast<u32>(code), std::move(message)});
}
/// What an answer says besides code and LSN.
inline void tell_write(answer& a, const btree::write_op& op) {
  a.page = op.bad_page().raw;
  a.wanted_bytes = op.wrong_length().wanted;
  a.given_bytes = op.wrong_length().given;
}

}  // namespace pleach::internal
