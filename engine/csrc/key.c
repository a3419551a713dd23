/* Keys: prepared once, in one piece of memory that is wiped when it goes. */

#include "inside.h"

#include <stdlib.h>

static size_t aligned16(size_t octets) { return (octets + 15) / 16 * 16; }

static size_t cipher_octets(enum culvert_kind kind) {
    switch (kind) {
    case CULVERT_GCM:
    case CULVERT_GMAC: return sizeof(struct gcm_key_data);
    case CULVERT_CHACHA: return 32;
    case CULVERT_CCM:
    case CULVERT_CTR: return sizeof(((struct expanded *)0)->encrypt);
    case CULVERT_CBC: return sizeof(struct expanded);
    case CULVERT_TRIPLE_DES: return sizeof(struct triple);
    default: return 0;
    }
}

/* Of one half of an HMAC's key. */
static size_t state_octets(enum culvert_hash hash) {
    switch (hash) {
    case CULVERT_MD5: return 16;
    case CULVERT_SHA1: return IMB_SHA1_DIGEST_SIZE_IN_BYTES;
    case CULVERT_SHA256: return IMB_SHA256_DIGEST_SIZE_IN_BYTES;
    case CULVERT_SHA384:
    case CULVERT_SHA512: return IMB_SHA512_DIGEST_SIZE_IN_BYTES;
    default: return 0;
    }
}

static void hash_block(IMB_MGR *manager, enum culvert_hash hash, const uint8_t *block, uint8_t *state) {
    switch (hash) {
    case CULVERT_MD5: IMB_MD5_ONE_BLOCK(manager, block, state); break;
    case CULVERT_SHA1: IMB_SHA1_ONE_BLOCK(manager, block, state); break;
    case CULVERT_SHA256: IMB_SHA256_ONE_BLOCK(manager, block, state); break;
    case CULVERT_SHA384: IMB_SHA384_ONE_BLOCK(manager, block, state); break;
    case CULVERT_SHA512: IMB_SHA512_ONE_BLOCK(manager, block, state); break;
    default: break;
    }
}

/* RFC 2104: both halves of the key, hashed as far as they don't depend on a packet. Keys are shorter than a block. */
static void prepare_hmac(IMB_MGR *manager, struct culvert_key *key, const struct culvert_terms *terms) {
    size_t octets = state_octets(terms->hash) > 32 ? IMB_SHA_512_BLOCK_SIZE : IMB_SHA1_BLOCK_SIZE;
    uint8_t block[IMB_SHA_512_BLOCK_SIZE], state[IMB_SHA512_DIGEST_SIZE_IN_BYTES];
    for (int half = 0; half < 2; half++) {
        memset(block, half ? 0x5c : 0x36, octets);
        for (size_t at = 0; at < terms->auth_octets; at++)
            block[at] ^= terms->auth_key[at];
        hash_block(manager, terms->hash, block, state);
        memcpy((uint8_t *)key + (half ? key->outer_at : key->hash_at), state, state_octets(terms->hash));
    }
    imb_clear_mem(block, sizeof block);
    imb_clear_mem(state, sizeof state);
}

static void prepare_hash(IMB_MGR *manager, struct culvert_key *key, const struct culvert_terms *terms) {
    struct chained *chained = (void *)((uint8_t *)key + key->hash_at);
    struct expanded unused;
    if (terms->hash == CULVERT_XCBC) {
        IMB_AES_XCBC_KEYEXP(manager, terms->auth_key, chained->chain, chained->one, chained->other);
    } else if (terms->hash == CULVERT_CMAC) {
        IMB_AES_KEYEXP_128(manager, terms->auth_key, chained->chain, unused.decrypt);
        IMB_AES_CMAC_SUBKEY_GEN_128(manager, chained->chain, chained->one, chained->other);
        imb_clear_mem(&unused, sizeof unused);
    } else if (terms->hash != CULVERT_NO_HASH) {
        prepare_hmac(manager, key, terms);
    }
}

static void prepare_gcm(IMB_MGR *manager, struct gcm_key_data *to, const uint8_t *octets, size_t key_octets) {
    switch (key_octets) {
    case 16: IMB_AES128_GCM_PRE(manager, octets, to); break;
    case 24: IMB_AES192_GCM_PRE(manager, octets, to); break;
    default: IMB_AES256_GCM_PRE(manager, octets, to); break;
    }
}

static void prepare_triple(IMB_MGR *manager, struct triple *to, const uint8_t *octets) {
    for (int at = 0; at < 3; at++) {
        IMB_DES_KEYSCHED(manager, to->schedules[at], octets + 8 * at);
        to->of[at] = to->schedules[at];
    }
}

/* Both directions, of which the counter modes keep one. */
static void prepare_aes(IMB_MGR *manager, void *to, const struct culvert_terms *terms) {
    struct expanded both;
    switch (terms->key_octets) {
    case 16: IMB_AES_KEYEXP_128(manager, terms->cipher_key, both.encrypt, both.decrypt); break;
    case 24: IMB_AES_KEYEXP_192(manager, terms->cipher_key, both.encrypt, both.decrypt); break;
    default: IMB_AES_KEYEXP_256(manager, terms->cipher_key, both.encrypt, both.decrypt); break;
    }
    memcpy(to, &both, cipher_octets(terms->kind));
    imb_clear_mem(&both, sizeof both);
}

static void prepare_cipher(IMB_MGR *manager, struct culvert_key *key, const struct culvert_terms *terms) {
    void *to = (uint8_t *)key + CIPHER_AT;
    switch (terms->kind) {
    case CULVERT_GCM:
    case CULVERT_GMAC: prepare_gcm(manager, to, terms->cipher_key, terms->key_octets); break;
    case CULVERT_CHACHA: memcpy(to, terms->cipher_key, 32); break;
    case CULVERT_TRIPLE_DES: prepare_triple(manager, to, terms->cipher_key); break;
    case CULVERT_NULL: break;
    default: prepare_aes(manager, to, terms); break;
    }
}

/* Memory of zeros: that of an old key, where it has the size. */
static struct culvert_key *make_room(struct culvert_key *old, size_t octets) {
    if (old != NULL && old->octets != octets) {
        culvert_key_free(old);
        old = NULL;
    }
    struct culvert_key *room = old != NULL ? old : aligned_alloc(64, octets);
    if (room != NULL)
        memset(room, 0, octets);
    return room;
}

struct culvert_key *culvert_key_new(struct culvert_mb *mb, const struct culvert_terms *terms, struct culvert_key *old) {
    size_t hash_at = CIPHER_AT + aligned16(cipher_octets(terms->kind));
    size_t outer_at = hash_at + aligned16(state_octets(terms->hash));
    int is_chained = terms->hash == CULVERT_XCBC || terms->hash == CULVERT_CMAC;
    size_t octets = outer_at + (is_chained ? sizeof(struct chained) : state_octets(terms->hash));
    octets = (octets + 63) / 64 * 64;
    struct culvert_key *key = make_room(old, octets);
    if (key == NULL)
        return NULL;
    key->kind = terms->kind;
    key->hash = terms->hash;
    key->esn = terms->esn != 0;
    key->iv_octets = terms->iv_octets;
    key->icv_octets = terms->icv_octets;
    key->key_octets = terms->key_octets;
    key->salt_octets = terms->salt_octets;
    key->hash_at = hash_at;
    key->outer_at = outer_at;
    key->octets = octets;
    if (terms->salt_octets)
        memcpy(key->salt, terms->salt, terms->salt_octets);
    prepare_cipher(mb->manager, key, terms);
    prepare_hash(mb->manager, key, terms);
    return key;
}

size_t culvert_key_octets(const struct culvert_key *key) { return key->octets; }

void culvert_key_free(struct culvert_key *key) {
    imb_clear_mem(key, key->octets);
    free(key);
}
