// Every op, cancelled at every moment of its life: before each round of the reactor, and where it waits for what others hold.
// It ends as cancelled, or as if nobody had cancelled it; it gives everything back; the store is sound after that.
#include <functional>
#include <vector>

#include "btree/verify.hh"
#include "store/drop_op.hh"
#include "tests/regress/fixture.hh"

namespace pleach {
namespace {

using store_layer::drop_op;

/// What others hold while the op runs.
enum class held { NOTHING, FRAMES, CREDIT };

/// Holds all frames or all credit that can be had, in ever smaller claims.
class hog {
 public:
  hog(core& c, held what) : core_(c), what_(what), claims_(64) {
    u64 least = what == held::FRAMES ? 1 : 256;
    u64 most = what == held::FRAMES ? c.pages->grantable_units() / 2 : c.engine->largest_credit();
    std::size_t used = 0;
    for (u64 n = what == held::NOTHING ? 0 : most; n >= least && n != 0; n /= 2)
      while (used < claims_.size()) {
        if (take(claims_[used], n)) {
          ++used;
        } else {
          give_back(claims_[used]);  // leaves the queue
          break;
        }
      }
    waits_ = c.engine->stats().credit_waits;
  }
  ~hog() {
    for (sm::claim& k : claims_) give_back(k);
  }
  /// RETURNS: whether somebody waits for what is held here.
  bool blocks() const {
    return what_ == held::FRAMES ? core_.pages->grants().contended() : core_.engine->stats().credit_waits != waits_;
  }

 private:
  bool take(sm::claim& k, u64 n) {
    return what_ == held::FRAMES ? core_.pages->grants().take(k, nobody_, n) : core_.engine->take_credit(k, nobody_, n);
  }
  void give_back(sm::claim& k) {
    if (what_ == held::FRAMES)
      core_.pages->grants().give_back(k);
    else
      core_.engine->give_back(k);
  }

  core& core_;
  held what_;
  u64 waits_ = 0;
  store_layer::wait_op nobody_;
  std::vector<sm::claim> claims_;
};

/// A store with the tree "t": `records` of them in leaves of 4 KiB, and large values in extents. All pages at home.
io::sim_image filled(u32 records) {
  fixture f(1, 64, 4 << 20);
  btree::tree& t = f.create("t", 1);
  for (u32 i = 0; i < records; ++i) DOCTEST_REQUIRE(f.put(t, numbered(i), std::string(i % 50 == 7 ? 9000 : 200, 'v')) == errc::ok);
  f.home();
  return f.device->current();
}

void check_sound(core& c) {
  std::string found;
  btree::verifier v(*c.ctx, [&](std::string where, std::string what) { found += where + ": " + what + "\n"; }, [](u64, u64) { return true; });
  DOCTEST_CHECK(v.run());
  DOCTEST_CHECK(found == "");
}

struct sweep {
  u32 cancelled = 0, ended = 0;
};

/// Opens the image anew for each n, makes the op, and cancels it after n rounds, or where it waits then for what
/// is held from that moment on. Ends with the first op that ends before.
sweep cancel_everywhere(const io::sim_image& image, held what, u64 cache_bytes,
                        const std::function<std::shared_ptr<sm::op>(fixture&)>& make) {
  sweep result;
  for (u32 n = 0; n < 400; ++n) {
    DOCTEST_CAPTURE(n);
    io::sim_environment env({.seed = n + 1, .chaos_per_mille = 200});
    auto opened = core::open(env, std::make_unique<io::sim_device>(env, image), {.cache_bytes = cache_bytes}, "test");
    DOCTEST_REQUIRE(opened);
    fixture f(std::move(*opened));
    std::shared_ptr<sm::op> op = make(f);
    struct state {
      sm::op& op;
      hog* h;
      u32 rounds;
    } s{*op, nullptr, n};
    f.store->loop.start(*op);
    DOCTEST_REQUIRE(f.store->loop.run_while([](void* p) { return static_cast<state*>(p)->rounds-- != 0 && !static_cast<state*>(p)->op.done(); }, &s));
    bool ended = op->done();
    if (!ended) {
      hog h(*f.store, what);
      s.h = &h;
      if (what != held::NOTHING)
        DOCTEST_REQUIRE(f.store->loop.run_while([](void* p) { return !static_cast<state*>(p)->op.done() && !static_cast<state*>(p)->h->blocks(); }, &s));
      if (!op->done()) op->cancel();
      DOCTEST_REQUIRE((op->done() || f.store->loop.run_until(*op)));
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

DOCTEST_TEST_CASE("a drop that is cancelled leaves a tree that is there, or one that is gone and goes on going") {
  io::sim_image image = filled(150);
  for (held what : {held::NOTHING, held::FRAMES, held::CREDIT}) {
    sweep s = cancel_everywhere(image, what, 4 << 20, [](fixture& f) { return std::make_shared<drop_op>(f.store, "t"); });
    DOCTEST_CHECK(s.cancelled > 0);
  }
}

DOCTEST_TEST_CASE("a write that replaces a large value, cancelled") {
  io::sim_image image = filled(100);
  std::string key = numbered(57), value(9000, 'w'), old;
  for (held what : {held::NOTHING, held::FRAMES, held::CREDIT}) {
    sweep s = cancel_everywhere(image, what, 4 << 20, [&](fixture& f) {
      auto op = std::make_shared<btree::write_op>();
      op->prepare(f.open("t"), change::UPSERT, as_bytes(key), as_bytes(value), &old, true);
      return op;
    });
    DOCTEST_CHECK(s.cancelled > 0);
  }
}

}  // namespace
}  // namespace pleach
