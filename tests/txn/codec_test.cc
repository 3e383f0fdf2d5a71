// Records and blocks as bytes: what is encoded is applied exactly, and no bytes whatever make the
// decoders leave their bounds.
#include <doctest/doctest.h>

#include "be/base/random.hh"
#include "pagecache/page_writer.hh"
#include "txn/log_block.hh"
#include "txn/record_codec.hh"
#include "txn/recovery_index.hh"

using namespace pleach;
using namespace pleach::txn;

namespace {

struct page_pair {
  explicit page_pair(u32 size, u64 seed) : before(size), map(size / granule_bytes), random(seed) {
    for (auto& b : before) b = static_cast<std::byte>(random.next());
    after = before;
  }
  void change(u32 ranges) {
    capture_state c{map.data(), 0, 1};
    page_writer w(after.data(), static_cast<u32>(after.size()), c);
    for (; ranges > 0; --ranges) {
      u32 length = 1 + static_cast<u32>(random.below(random.chance(100) ? after.size() : 40));
      length = std::min<u32>(length, static_cast<u32>(after.size()));
      u32 off = static_cast<u32>(random.below(after.size() - length + 1));
      std::byte* p = w.writable(off, length);
      for (u32 i = 0; i < length; ++i) p[i] = static_cast<std::byte>(random.next());
    }
  }
  std::vector<std::byte> before, after;
  std::vector<u64> map;
  random_stream random;
};

}  // namespace

DOCTEST_TEST_CASE("a record brings the page before to the page after") {
  for (u64 seed = 1; seed <= 400; ++seed) {
    page_pair p(4096u << seed % 4, seed);
    p.change(static_cast<u32>(p.random.below(60)));
    u32 words = static_cast<u32>(p.map.size());
    std::vector<std::byte> out(p.random.below(9));
    u64 begin = out.size();
    map_measure m = measure_map(p.map.data(), words);
    u64 captured =
        encode_page(out, {page_addr(77, 1), 5}, 0, p.after.data(), p.map.data(), words, 42);
    DOCTEST_REQUIRE(out.size() == begin + sizeof(record_header) + m.body_bytes);
    DOCTEST_CHECK(m.body_bytes <= max_page_body(p.after.size()));
    DOCTEST_CHECK(captured <= p.after.size());
    cbytes body = cbytes(out).subspan(begin + sizeof(record_header));
    auto page = p.before;
    DOCTEST_REQUIRE(apply_page(body, page));
    DOCTEST_CHECK(page == p.after);
    // Every cut of the body is refused.
    for (u64 cut = 0; cut < body.size(); cut += 1 + p.random.below(body.size() / 8 + 1)) {
      auto other = p.before;
      DOCTEST_CHECK(!apply_page(body.first(cut), other));
    }
  }
}

DOCTEST_TEST_CASE("hostile bodies stay inside the page") {
  random_stream random(99);
  u64 refused = 0;
  for (u32 round = 0; round < 20000; ++round) {
    page_pair p(4096, round + 1);
    p.change(1 + static_cast<u32>(p.random.below(10)));
    std::vector<std::byte> out;
    encode_page(out, {page_addr(77, 1), 5}, 0, p.after.data(), p.map.data(), 8, 42);
    for (u64 n = 1 + random.below(6); n > 0; --n)
      out[random.below(out.size())] = static_cast<std::byte>(random.next());
    std::vector<std::byte> guarded(4096 + 128, std::byte{0x5a});
    std::vector<std::byte> exact(out.begin() + sizeof(record_header),
                                 out.end());  // its own allocation: a sanitizer sees overreads
    if (!apply_page(exact, {guarded.data() + 64, 4096})) ++refused;
    for (u32 i = 0; i < 64; ++i) {
      DOCTEST_REQUIRE(guarded[i] == std::byte{0x5a});
      DOCTEST_REQUIRE(guarded[4096 + 64 + i] == std::byte{0x5a});
    }
  }
  DOCTEST_CHECK(refused > 1000);
}

DOCTEST_TEST_CASE("a block with any bit turned is not a block") {
  random_stream random(5);
  std::vector<std::byte> block(block_bytes);
  for (auto& b : block) b = static_cast<std::byte>(random.next());
  block_identity id;
  id.store_id = 0x1234;
  id.salt = 0x9999;
  id.seq = 17;
  id.group = 4;
  u64 sum = seal_block(block.data(), id, BLOCK_FIRST, 1000);
  DOCTEST_CHECK(block_header(block.data()).checksum == sum);
  DOCTEST_CHECK(block_valid(block, 0x1234, 0x9999));
  DOCTEST_CHECK(!block_valid(block, 0x1235, 0x9999));
  DOCTEST_CHECK(!block_valid(block, 0x1234, 0x9998));
  DOCTEST_CHECK(block_payload(block.data()).size() == 1000);
  for (u64 bit = 0; bit < block_bytes * 8; ++bit) {
    block[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    DOCTEST_REQUIRE(!block_valid(block, 0x1234, 0x9999));
    block[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
  DOCTEST_CHECK(block_valid(block, 0x1234, 0x9999));
}

DOCTEST_TEST_CASE("the index keeps what matters of each page, in order") {
  recovery_index x(16 * 100);
  auto page = [](u64 block) { return page_addr(block, 1); };
  auto add = [&](u64 block, u32 pos, u32 what) { return x.add({page(block).raw, pos, what}); };
  DOCTEST_CHECK(add(9, 1, 100));
  DOCTEST_CHECK(add(7, 2, 100));
  DOCTEST_CHECK(add(9, 3, index_entry::free_bit));
  DOCTEST_CHECK(add(9, 5, 50 | index_entry::format_bit));
  DOCTEST_CHECK(add(9, 6, 60));
  DOCTEST_CHECK(add(8, 7, 10));
  DOCTEST_CHECK(add(8, 8, index_entry::free_bit));
  x.commit();
  DOCTEST_CHECK(add(7, 9, 1));  // of a group that never ends
  x.seal();
  DOCTEST_REQUIRE(x.of(page(9)).size() == 2);
  DOCTEST_CHECK(x.of(page(9))[0].is_format());
  DOCTEST_CHECK(x.of(page(9))[0].length() == 50);
  DOCTEST_CHECK(x.of(page(9))[1].position == 6);
  DOCTEST_CHECK(x.of(page(7)).size() == 1);
  DOCTEST_CHECK(x.of(page(8)).empty());
  recovery_index small(16 * 2);
  DOCTEST_CHECK(small.add({1, 1, 1}));
  DOCTEST_CHECK(small.add({1, 2, 1}));
  DOCTEST_CHECK(!small.add({1, 3, 1}));
}
