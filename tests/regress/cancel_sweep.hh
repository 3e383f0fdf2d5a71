// What sweeps over all moments of an op share: stores that are filled, what others hold while the
// op runs, and the sweep itself.
#pragma once

#include <functional>
#include <vector>

#include "tests/support/sim_store.hh"

namespace pleach {

/// What others hold while the op runs.
enum class held { NOTHING, GRANTS, FRAMES, CREDIT };

#define COLLECTOR_PHASES(X)    \
  X(TAKE, WAIT, TAKE, CLEANUP) \
  X(CLEANUP, NOWAIT, DONE)     \
  X(DONE, NOWAIT)

/// Takes free frames until it has to wait for one, and gives them back when it is cancelled.
class collector final : public sm::machine<collector> {
 public:
  PLEACH_PHASES("test-collector", COLLECTOR_PHASES)
  explicit collector(cache::page_cache& pages) : pages_(pages) {}
  sm::step tick(phase p) noexcept {
    switch (p) {
      case TAKE:
        for (;;) {
          cache::spare_frame f;
          if (!pages_.take_spare(*this, 1, f)) return wait(TAKE);
          frames_.push_back(f);
        }
      case CLEANUP:
        for (cache::spare_frame& f : frames_) pages_.give_back(f);
        frames_.clear();
        return go(DONE);
      case DONE:
      case phase_count_:
        break;
    }
    return go(DONE);
  }

 private:
  cache::page_cache& pages_;
  std::vector<cache::spare_frame> frames_;
};

/// Holds all frames, or all grants of frames or credit that can be had, in ever smaller claims.
class hog {
 public:
  hog(core& c, held what) : core_(c), what_(what), claims_(64), frames_(*c.pages) {
    if (what == held::FRAMES) c.loop.start(frames_);
    u64 least = what == held::GRANTS ? 1 : 256;
    u64 most = what == held::GRANTS ? c.pages->grantable_units() / 2 : c.engine->largest_credit();
    std::size_t used = 0;
    for (u64 n = what == held::NOTHING || what == held::FRAMES ? 0 : most; n >= least && n != 0;
         n /= 2)
      while (used < claims_.size()) {
        if (take(claims_[used], n)) {
          ++used;
        } else {
          give_back(claims_[used]);  // leaves the queue
          break;
        }
      }
  }
  ~hog() {
    for (sm::claim& k : claims_) give_back(k);
    if (what_ != held::FRAMES) return;
    frames_.cancel();
    DOCTEST_CHECK(core_.loop.run_until(frames_));
  }
  /// RETURNS: whether `o` waits for what is held here.
  bool blocks(const sm::op& o) const {
    const char* why = o.innermost().waiting_for();
    return why != nullptr && std::string_view(why) == (what_ == held::FRAMES   ? "free frame"
                                                       : what_ == held::GRANTS ? "page frames"
                                                                               : "log credit");
  }

 private:
  bool take(sm::claim& k, u64 n) {
    return what_ == held::GRANTS ? core_.pages->grants().take(k, nobody_, n)
                                 : core_.engine->take_credit(k, nobody_, n);
  }
  void give_back(sm::claim& k) {
    if (what_ == held::GRANTS)
      core_.pages->grants().give_back(k);
    else
      core_.engine->give_back(k);
  }

  core& core_;
  held what_;
  store_layer::wait_op nobody_;
  std::vector<sm::claim> claims_;
  collector frames_;
};

/// A store with the tree "t": `records` of them in leaves of 4 KiB, and large values in extents.
/// All pages at home.
inline io::sim_image filled(u32 records, u16 leaf_format = btree::node_format_slotted_2,
                     u16 tree_flags = 0) {
  fixture f(1, 64, 4 << 20);
  btree::tree& t = f.create("t", 1, leaf_format, tree_flags);
  for (u32 i = 0; i < records; ++i)
    DOCTEST_REQUIRE(f.put(t, numbered(i), std::string(i % 50 == 7 ? 9000 : 200, 'v')) == errc::ok);
  f.home();
  return f.device->current();
}

#define SPINNER_PHASES(X)      \
  X(SPIN, WAIT, SPIN, CLEANUP) \
  X(CLEANUP, NOWAIT, DONE)     \
  X(DONE, NOWAIT)

/// Is always ready to run: in short rounds, others stay ready for some.
class spinner final : public sm::machine<spinner> {
 public:
  PLEACH_PHASES("test-spinner", SPINNER_PHASES)
  sm::step tick(phase p) noexcept {
    return p == CLEANUP ? go(DONE) : left-- == 0 ? go(CLEANUP) : yield(SPIN);
  }
  u32 left = ~0u;
};

struct sweep {
  u32 cancelled = 0, ended = 0;
};

using maker = std::function<std::shared_ptr<sm::op>(fixture&)>;

/// Opens the image anew for each n, makes the op, and cancels it after n rounds, or where it waits
/// then for what is held from that moment on. Ends with the first op that ends before. `crowded`:
/// others are ready to run as well, and a round runs one op only.
inline sweep cancel_everywhere(const io::sim_image& image, held what, bool crowded, u64 seed,
                        const maker& make, u32 max_run_blocks) {
  sweep result;
  for (u32 n = 0, by = what == held::FRAMES ? 17 : 1; n < 4000; n += by) {
    DOCTEST_CAPTURE(n);
    io::sim_environment env(
        {.seed = seed + n, .chaos_per_mille = 300, .look_ns = crowded ? 1'000'000u : 20u});
    store_layer::core_options options;
    options.cache_bytes = 4 << 20;
    options.max_run_blocks = max_run_blocks;
    auto opened = core::open(env, std::make_unique<io::sim_device>(env, image), options, "test");
    DOCTEST_REQUIRE(opened);
    fixture f(std::move(*opened));
    std::shared_ptr<sm::op> op = make(f);
    struct state {
      sm::op& op;
      hog* h;
      u32 rounds;
    } s{*op, nullptr, n};
    spinner crowd[4];
    if (crowded)
      for (spinner& other : crowd) f.store->loop.start(other);
    f.store->loop.start(*op);
    DOCTEST_REQUIRE(f.store->loop.run_while(
        [](void* p) {
          return static_cast<state*>(p)->rounds-- != 0 && !static_cast<state*>(p)->op.done();
        },
        &s));
    bool ended = op->done();
    if (!ended) {
      hog h(*f.store, what);
      s.h = &h;
      s.rounds = 100;  // it may wait for a page that is never loaded: there is no frame
      if (what != held::NOTHING)
        DOCTEST_REQUIRE(f.store->loop.run_while(
            [](void* p) {
              return static_cast<state*>(p)->rounds-- != 0 && !static_cast<state*>(p)->op.done() &&
                     !static_cast<state*>(p)->h->blocks(static_cast<state*>(p)->op);
            },
            &s));
      if (!op->done()) op->cancel();
    }
    DOCTEST_REQUIRE((op->done() || f.store->loop.run_until(*op)));
    if (crowded)
      for (spinner& other : crowd) {
        other.cancel();
        DOCTEST_REQUIRE(f.store->loop.run_until(other));
      }
    errc code = op->out.code;
    DOCTEST_CHECK_MESSAGE((code == errc::cancelled || code == errc::ok), name_of(code));
    ++(code == errc::cancelled ? result.cancelled : result.ended);
    op.reset();
    f.home();
    check_sound(*f.store);
    if (ended) return result;
  }
  DOCTEST_CHECK(!"it comes to its end");
  return result;
}

inline constexpr held by_others[] = {held::NOTHING, held::GRANTS, held::FRAMES, held::CREDIT};
inline constexpr std::span<const held> all_ways = by_others, ways_of_reads{by_others, 3};

/// `max_run_blocks`: longer values have maps; 0: as usual.
inline void cancel_in_all_ways(const io::sim_image& image, const maker& make,
                        std::span<const held> ways = all_ways, u32 max_run_blocks = 0) {
  for (held what : ways)
    for (u64 seed : {1000, 2000, 3000, 4000, 5000}) {
      DOCTEST_CAPTURE(seed);
      sweep s = cancel_everywhere(image, what, seed % 2000 != 0, seed, make, max_run_blocks);
      DOCTEST_CHECK(s.cancelled > 0);
    }
}

/// The leaf of the tree "t" that holds `key`. All pages stay at home.
inline page_addr leaf_of(io::sim_image& image, const std::string& key) {
  io::sim_environment env;
  auto dev = std::make_unique<io::sim_device>(env, image);
  dev->on_event = [&](io::sim_device& d) { image = d.durable(); };
  auto opened = core::open(env, std::move(dev), {.cache_bytes = 4 << 20}, "test");
  DOCTEST_REQUIRE(opened);
  fixture f(std::move(*opened));
  std::byte room[block_bytes];
  btree::leaf_copy copy;
  copy.bytes = room;
  std::string found;
  btree::read_op find;
  find.prepare(f.open("t"), seek::EXACT, as_bytes(key), {&found, nullptr, &copy});
  DOCTEST_REQUIRE(f.run(find) == errc::ok);
  return copy.addr;
}

/// One bit of the page, behind its header.
inline void damage(io::sim_image& image, page_addr page) {
  std::byte sector[512];
  image.read(page.block() * block_bytes + 1024, sector);
  sector[7] ^= std::byte{1};
  image.write(page.block() * block_bytes + 1024, sector);
}

}  // namespace pleach
