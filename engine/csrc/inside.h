/* What the parts of this layer share. */
#ifndef CULVERT_INSIDE_H
#define CULVERT_INSIDE_H

#include "ipsec_mb.h"

#include <intel-ipsec-mb.h>
#include <string.h>

#define HEADER_OCTETS 8
#define TAG_OCTETS_MAX 64
#define BATCH_MAX 256
#define CIPHER_AT 64

struct culvert_mb {
    IMB_MGR *manager;
    IMB_MGR *sha; /* for HMAC-SHA-256; the same one, or one that uses the processor's instructions for it */
    struct gcm_context_data context;
    uint8_t tag_alone[TAG_OCTETS_MAX]; /* not one of `tags`: those may belong to jobs that are still under way */
    uint8_t tags[BATCH_MAX][TAG_OCTETS_MAX];
    uint8_t icvs[BATCH_MAX][TAG_OCTETS_MAX];
    uint8_t ivs[BATCH_MAX][16];
    uint8_t associated[BATCH_MAX][16];
};

struct expanded {
    DECLARE_ALIGNED(uint32_t encrypt[15 * 4], 16);
    DECLARE_ALIGNED(uint32_t decrypt[15 * 4], 16);
};

struct triple {
    uint64_t schedules[3][IMB_DES_KEY_SCHED_SIZE / 8];
    const void *of[3];
};

/* XCBC and CMAC: an expanded key and two that are mixed into the last block. */
struct chained {
    DECLARE_ALIGNED(uint32_t chain[11 * 4], 16);
    DECLARE_ALIGNED(uint8_t one[16], 16);
    DECLARE_ALIGNED(uint8_t other[16], 16);
};

/* At CIPHER_AT behind its start is what the cipher needs, at `hash_at` what the hash needs, and no octet more. */
struct culvert_key {
    uint8_t kind, hash, esn, iv_octets, icv_octets, key_octets, salt_octets;
    uint8_t salt[4];
    uint16_t hash_at, outer_at, octets;
};
_Static_assert(sizeof(struct culvert_key) <= CIPHER_AT, "the cipher's part is aligned");

static inline const void *cipher_of(const struct culvert_key *key) { return (const uint8_t *)key + CIPHER_AT; }
static inline const void *hash_of(const struct culvert_key *key) { return (const uint8_t *)key + key->hash_at; }
static inline const void *outer_of(const struct culvert_key *key) { return (const uint8_t *)key + key->outer_at; }

static inline size_t text_octets(const struct culvert_packet *packet) {
    return packet->octets - HEADER_OCTETS - packet->key->iv_octets - packet->key->icv_octets;
}

static inline uint8_t *text_of(const struct culvert_packet *packet) {
    return packet->esp + HEADER_OCTETS + packet->key->iv_octets;
}

static inline uint8_t *icv_of(const struct culvert_packet *packet) {
    return packet->esp + packet->octets - packet->key->icv_octets;
}

/* Salt and IV; of CCM 11 octets, else 12. */
static inline void make_nonce(const struct culvert_packet *packet, uint8_t *nonce) {
    memcpy(nonce, packet->key->salt, 4);
    memcpy(nonce + packet->key->salt_octets, packet->esp + HEADER_OCTETS, 8);
}

#endif
