/* Runs of sectors through OpenSSL's ciphers, with the interpreter's lock released.
 *
 * A Cipher holds one mode for one sector size, and reads its key where the caller keeps it: OpenSSL
 * has key schedules in memory that may be swapped out or dumped, so they are there during a call
 * only. A call makes the IVs of a group of sectors (or takes ready ones), then turns the group;
 * modes differ in how.
 * Ciphers are found by EVP, but called in their provider: OpenSSL 3.0's EVP takes 60 to 200 ns to
 * set an IV, as long as it needs for a 512-byte sector, since it looks the IV's length up by name.
 *
 * Specifications: IEEE 1619 (XTS), NIST SP 800-38A (ECB, CBC), drivers/md/dm-crypt.c (IVs),
 * provider-cipher(7) and OSSL_PROVIDER_query_operation(3) (OpenSSL).
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tweaks and IVs are computed as little-endian words; the portable part has no such limit"
#endif

enum {
    BLOCK = 16,       /* bytes; no cipher with another block size comes here */
    GROUP = 16,       /* sectors turned together; 8 KiB of 512-byte ones stay in the L1 cache */
    SECTOR_MAX = 4096 /* bytes */
};

/* A cipher block, anywhere in a caller's buffer. */
typedef uint64_t block __attribute__((vector_size(BLOCK), aligned(1), may_alias));
typedef int32_t words __attribute__((vector_size(BLOCK)));

#ifdef __clang__
#define SHUFFLED(vector, ...) __builtin_shufflevector(vector, vector, __VA_ARGS__)
#else
#define SHUFFLED(vector, ...) __builtin_shuffle(vector, (words){__VA_ARGS__})
#endif

typedef enum { PLAIN, PLAIN64, PLAIN64BE } layout;

/* A cipher in one mode, as a provider of OpenSSL implements it. */
typedef struct {
    EVP_CIPHER *fetched; /* keeps the provider loaded; NULL where there is no cipher */
    void *provider;
    OSSL_FUNC_cipher_newctx_fn *new_state;
    OSSL_FUNC_cipher_freectx_fn *free_state; /* cleanses the key schedule */
    OSSL_FUNC_cipher_encrypt_init_fn *encrypt_init;
    OSSL_FUNC_cipher_decrypt_init_fn *decrypt_init;
    OSSL_FUNC_cipher_cipher_fn *turn;
} implementation;

/* An implementation under a key, in one direction; all zero where a mode has no need of it. */
typedef struct {
    const implementation *by;
    void *state;
    int encrypting;
} context;

/* What a thread needs to itself during a call. Kept for the next call and cleansed with the
 * Cipher: tweaks are secret too. */
typedef struct worker {
    struct worker *next;
    context forward, backward; /* encrypt and decrypt the data */
    context tweak;             /* XTS of ECB only: the key's second half, for the IVs */
    context iv;                /* encrypts IVs */
    block ivs[GROUP];
    _Alignas(BLOCK) block tweaks[]; /* XTS of ECB only: one for every block of a group */
} worker;

typedef int (*turn)(worker *w, size_t sector_size, size_t count, const unsigned char *in,
                    unsigned char *out);

typedef struct {
    const char *name;
    const char *forward, *backward; /* the modes that OpenSSL is asked for */
    int second_key;                 /* whether half of the key is for the tweaks, in C */
    turn encrypt, decrypt;
} mode;

typedef struct {
    PyObject_HEAD
    const mode *mode;
    size_t sector_size;    /* bytes */
    Py_buffer key, iv_key; /* the caller's own memory; the second one's buf may be NULL */
    implementation forward, backward, tweak, iv;
    worker *idle; /* a stack, guarded by the interpreter's lock */
} Cipher;

/* ---- modes: each turns `count` sectors with the IVs in `w`; 0 on failure ---- */

/* Takes a key, an IV or both; what is NULL stays as it was. */
static int start(context *c, const unsigned char *key, size_t key_size, const void *iv)
{
    OSSL_FUNC_cipher_encrypt_init_fn *init =
        c->encrypting ? c->by->encrypt_init : c->by->decrypt_init;
    return init(c->state, key, key_size, iv, iv == NULL ? 0 : BLOCK, NULL);
}

static int update(context *c, void *out, const void *in, size_t size)
{
    size_t written;
    return c->by->turn(c->state, out, &written, size, in, size) && written == size;
}

static int ecb_encrypt(worker *w, size_t sector_size, size_t count, const unsigned char *in,
                       unsigned char *out)
{
    return update(&w->forward, out, in, sector_size * count);
}

static int ecb_decrypt(worker *w, size_t sector_size, size_t count, const unsigned char *in,
                       unsigned char *out)
{
    return update(&w->backward, out, in, sector_size * count);
}

/* The n-th blocks of all sectors by one ECB call: a chain has to wait for each block, a row of
 * independent chains fills the processor's pipeline. 5.7 times the speed with
 * 512-byte sectors, 2.5 times with 4096-byte ones, whose blocks crowd the same cache lines. */
static int cbc_encrypt(worker *w, size_t sector_size, size_t count, const unsigned char *in,
                       unsigned char *out)
{
    block *chain = w->ivs;
    for (size_t at = 0; at < sector_size; at += BLOCK) {
        for (size_t n = 0; n < count; n++)
            chain[n] ^= *(const block *)(in + n * sector_size + at);
        if (!update(&w->forward, chain, chain, BLOCK * count))
            return 0;
        for (size_t n = 0; n < count; n++)
            *(block *)(out + n * sector_size + at) = chain[n];
    }
    return 1;
}

/* All sectors as one chain. That gives a sector's first block XORed with the last ciphertext block
 * before it (zero at the start) where its IV should be. */
static int cbc_decrypt(worker *w, size_t sector_size, size_t count, const unsigned char *in,
                       unsigned char *out)
{
    static const unsigned char zero[BLOCK];
    for (size_t n = 1; n < count; n++) /* before `out`, which may be `in`, is written */
        w->ivs[n] ^= *(const block *)(in + n * sector_size - BLOCK);
    if (!start(&w->backward, NULL, 0, zero) ||
        !update(&w->backward, out, in, sector_size * count))
        return 0;
    for (size_t n = 0; n < count; n++)
        *(block *)(out + n * sector_size) ^= w->ivs[n];
    return 1;
}

/* Times x in GF(2^128) of IEEE 1619: the bit that leaves each half comes into the other one, the
 * upper one's as x^7 + x^2 + x + 1. */
static inline block times_x(block tweak)
{
    words top_bits = SHUFFLED((words)tweak >> 31, 3, 3, 1, 1);
    return (tweak + tweak) ^ (block)(top_bits & (words){0x87, 0, 1, 0});
}

/* XORs a sector with its tweaks, which it keeps. Four sectors side by side were 6% faster in the
 * caches, but took twice the time for what lies outside them: too many places at once. */
static void whiten(block tweak, size_t blocks, const block *in, block *out, block *tweaks)
{
    for (size_t at = 0; at < blocks; at++) {
        tweaks[at] = tweak;
        out[at] = in[at] ^ tweak;
        tweak = times_x(tweak);
    }
}

static int xts_of_ecb(context *data, worker *w, size_t sector_size, size_t count,
                      const unsigned char *in, unsigned char *out)
{
    size_t blocks = sector_size / BLOCK;
    const block *source = (const block *)in;
    block *target = (block *)out;

    if (!update(&w->tweak, w->ivs, w->ivs, BLOCK * count))
        return 0;
    for (size_t n = 0; n < count; n++)
        whiten(w->ivs[n], blocks, source + n * blocks, target + n * blocks,
               w->tweaks + n * blocks);
    if (!update(data, out, out, sector_size * count))
        return 0;
    for (size_t at = 0; at < blocks * count; at++)
        target[at] ^= w->tweaks[at];
    return 1;
}

static int xts_of_ecb_encrypt(worker *w, size_t sector_size, size_t count,
                              const unsigned char *in, unsigned char *out)
{
    return xts_of_ecb(&w->forward, w, sector_size, count, in, out);
}

static int xts_of_ecb_decrypt(worker *w, size_t sector_size, size_t count,
                              const unsigned char *in, unsigned char *out)
{
    return xts_of_ecb(&w->backward, w, sector_size, count, in, out);
}

static int each_sector(context *data, worker *w, size_t sector_size, size_t count,
                       const unsigned char *in, unsigned char *out)
{
    for (size_t n = 0; n < count; n++, in += sector_size, out += sector_size) {
        if (!start(data, NULL, 0, &w->ivs[n]) || !update(data, out, in, sector_size))
            return 0;
    }
    return 1;
}

static int each_sector_encrypt(worker *w, size_t sector_size, size_t count,
                               const unsigned char *in, unsigned char *out)
{
    return each_sector(&w->forward, w, sector_size, count, in, out);
}

static int each_sector_decrypt(worker *w, size_t sector_size, size_t count,
                               const unsigned char *in, unsigned char *out)
{
    return each_sector(&w->backward, w, sector_size, count, in, out);
}

static const mode MODES[] = {
    {"ecb", "ECB", "ECB", 0, ecb_encrypt, ecb_decrypt},
    {"cbc", "ECB", "CBC", 0, cbc_encrypt, cbc_decrypt},
    {"ctr", "CTR", "CTR", 0, each_sector_encrypt, each_sector_decrypt},
    {"xts", "XTS", "XTS", 0, each_sector_encrypt, each_sector_decrypt},
    {"xts-of-ecb", "ECB", "ECB", 1, xts_of_ecb_encrypt, xts_of_ecb_decrypt},
};

static const mode *find_mode(const char *name)
{
    for (size_t n = 0; n < sizeof MODES / sizeof *MODES; n++) {
        if (strcmp(MODES[n].name, name) == 0)
            return &MODES[n];
    }
    return NULL;
}

/* ---- implementations: what OpenSSL has ---- */

/* `names` are separated by colons. */
static int is_among(const char *name, const char *names)
{
    size_t size = strlen(name);
    for (; names != NULL; names = strchr(names, ':')) {
        names += *names == ':';
        if (strncmp(names, name, size) == 0 && (names[size] == ':' || names[size] == '\0'))
            return 1;
    }
    return 0;
}

static int take_functions(implementation *found, const OSSL_DISPATCH *function)
{
    for (; function->function_id != 0; function++) {
        switch (function->function_id) {
        case OSSL_FUNC_CIPHER_NEWCTX:
            found->new_state = OSSL_FUNC_cipher_newctx(function);
            break;
        case OSSL_FUNC_CIPHER_FREECTX:
            found->free_state = OSSL_FUNC_cipher_freectx(function);
            break;
        case OSSL_FUNC_CIPHER_ENCRYPT_INIT:
            found->encrypt_init = OSSL_FUNC_cipher_encrypt_init(function);
            break;
        case OSSL_FUNC_CIPHER_DECRYPT_INIT:
            found->decrypt_init = OSSL_FUNC_cipher_decrypt_init(function);
            break;
        case OSSL_FUNC_CIPHER_CIPHER:
            found->turn = OSSL_FUNC_cipher_cipher(function);
            break;
        }
    }
    return found->new_state != NULL && found->free_state != NULL && found->encrypt_init != NULL &&
           found->decrypt_init != NULL && found->turn != NULL;
}

/* The functions behind a fetched cipher: its provider lists them under all of its names. */
static int take_from_provider(implementation *found, const char *name)
{
    const OSSL_PROVIDER *provider = EVP_CIPHER_get0_provider(found->fetched);
    int no_store, taken = 0;
    const OSSL_ALGORITHM *all =
        OSSL_PROVIDER_query_operation(provider, OSSL_OP_CIPHER, &no_store);

    found->provider = OSSL_PROVIDER_get0_provider_ctx(provider);
    for (const OSSL_ALGORITHM *one = all;
         one != NULL && one->algorithm_names != NULL && !taken; one++)
        taken = is_among(name, one->algorithm_names) && take_functions(found, one->implementation);
    OSSL_PROVIDER_unquery_operation(provider, OSSL_OP_CIPHER, all);
    return taken;
}

static int fits(const EVP_CIPHER *cipher, size_t key_size)
{
    int block_size = EVP_CIPHER_get_block_size(cipher); /* 1 for XTS and CTR */
    return (block_size == BLOCK || block_size == 1) &&
           (size_t)EVP_CIPHER_get_key_length(cipher) == key_size;
}

/* `cipher` ("AES-256") in `mode_name` for keys of `key_size` bytes; 0 where OpenSSL lacks it. */
static int find(implementation *found, const char *cipher, const char *mode_name, size_t key_size)
{
    char name[64];
    if (snprintf(name, sizeof name, "%s-%s", cipher, mode_name) >= (int)sizeof name)
        return 0;
    found->fetched = EVP_CIPHER_fetch(NULL, name, NULL);
    return found->fetched != NULL && fits(found->fetched, key_size) &&
           take_from_provider(found, name);
}

/* ---- workers ---- */

static int set_up_context(context *c, const implementation *by, int encrypting)
{
    if (by->fetched == NULL)
        return 1;
    *c = (context){by, by->new_state(by->provider), encrypting};
    return c->state != NULL;
}

static void free_context(context *c)
{
    if (c->state != NULL)
        c->by->free_state(c->state);
}

static void free_worker(worker *w, size_t size)
{
    if (w == NULL)
        return;
    free_context(&w->forward);
    free_context(&w->backward);
    free_context(&w->tweak);
    free_context(&w->iv);
    OPENSSL_clear_free(w, size);
}

static size_t worker_size(const Cipher *self)
{
    return sizeof(worker) + (self->mode->second_key ? GROUP * self->sector_size : 0);
}

/* What contexts are keyed with between calls: no key, but schedules of another one's are gone. Its
 * halves differ, as OpenSSL wants it of XTS. */
static const unsigned char BLANK[64] = {1};

static int rekey(context *c, const unsigned char *key, size_t key_size)
{
    return c->by == NULL || start(c, key, key_size, NULL);
}

static int rekey_worker(const Cipher *self, worker *w, int encrypting, const unsigned char *key,
                        const unsigned char *iv_key)
{
    size_t size = (size_t)self->key.len;
    size_t second = self->mode->second_key ? size / 2 : 0;
    size_t first = size - second;
    int data = rekey(encrypting ? &w->forward : &w->backward, key, first);
    int tweak = rekey(&w->tweak, key + first, second);
    int iv = rekey(&w->iv, iv_key, (size_t)self->iv_key.len);
    return data && tweak && iv; /* each was tried */
}

static worker *new_worker(Cipher *self)
{
    worker *w = OPENSSL_zalloc(worker_size(self));
    if (w != NULL && set_up_context(&w->forward, &self->forward, 1) &&
        set_up_context(&w->backward, &self->backward, 0) &&
        set_up_context(&w->tweak, &self->tweak, 1) && set_up_context(&w->iv, &self->iv, 1))
        return w;
    free_worker(w, worker_size(self));
    PyErr_NoMemory();
    return NULL;
}

static worker *take_worker(Cipher *self)
{
    worker *w = self->idle;
    if (w == NULL)
        return new_worker(self);
    self->idle = w->next;
    return w;
}

static void give_worker_back(Cipher *self, worker *w)
{
    w->next = self->idle;
    self->idle = w;
}

/* ---- a run of sectors ---- */

typedef struct {
    layout layout;
    uint64_t first, step;       /* numbers that IVs are made of */
    const unsigned char *ready; /* or the IVs themselves, one after another */
} iv_source;

static int fill_ivs(worker *w, const iv_source *source, size_t start, size_t count)
{
    if (source->ready != NULL) {
        memcpy(w->ivs, source->ready + start * BLOCK, count * BLOCK);
        return 1;
    }
    uint64_t number = source->first + start * source->step;
    for (size_t n = 0; n < count; n++, number += source->step) {
        if (source->layout == PLAIN64BE)
            w->ivs[n] = (block){0, __builtin_bswap64(number)};
        else
            w->ivs[n] = (block){source->layout == PLAIN ? (uint32_t)number : number, 0};
    }
    return w->iv.by == NULL || update(&w->iv, w->ivs, w->ivs, count * BLOCK);
}

static int run(turn turn_group, worker *w, const iv_source *ivs, size_t sector_size,
               const unsigned char *in, unsigned char *out, size_t size)
{
    size_t total = size / sector_size;
    for (size_t start = 0, count; start < total; start += count) {
        count = total - start < GROUP ? total - start : GROUP;
        if (!fill_ivs(w, ivs, start, count) ||
            !turn_group(w, sector_size, count, in + start * sector_size,
                        out + start * sector_size))
            return 0;
    }
    return 1;
}

/* ---- the Python type ---- */

static int check_buffers(const Cipher *self, const Py_buffer *in, const Py_buffer *out,
                         const Py_buffer *ready)
{
    Py_ssize_t sector_size = (Py_ssize_t)self->sector_size;
    const char *source = in->buf, *target = out->buf;
    if (in->len % sector_size)
        PyErr_Format(PyExc_ValueError, "data has %zd bytes, sectors have %zd", in->len,
                     sector_size);
    else if (out->len < in->len)
        PyErr_Format(PyExc_ValueError, "out has %zd bytes, data has %zd", out->len, in->len);
    else if (source != target && source < target + in->len && target < source + in->len)
        PyErr_SetString(PyExc_ValueError, "out overlaps data without being the same");
    else if (ready->buf != NULL && ready->len / BLOCK < in->len / sector_size)
        PyErr_Format(PyExc_ValueError, "ivs has %zd bytes, %zd sectors take %d each", ready->len,
                     in->len / sector_size, BLOCK);
    else
        return 1;
    return 0;
}

static PyObject *run_unlocked(Cipher *self, int encrypting, const iv_source *ivs,
                              const Py_buffer *in, const Py_buffer *out)
{
    turn turn_group = encrypting ? self->mode->encrypt : self->mode->decrypt;
    worker *w = take_worker(self);
    int done;
    if (w == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    done = rekey_worker(self, w, encrypting, self->key.buf, self->iv_key.buf) &&
           run(turn_group, w, ivs, self->sector_size, in->buf, out->buf, (size_t)in->len);
    done &= rekey_worker(self, w, encrypting, BLANK, BLANK);
    Py_END_ALLOW_THREADS
    give_worker_back(self, w);
    if (!done) {
        ERR_clear_error();
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL failed in the middle of a run");
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The arguments of encrypt and decrypt; "K" takes any int modulo 2^64. */
static PyObject *turn_buffers(Cipher *self, PyObject *args, int encrypting)
{
    Py_buffer in = {0}, out = {0}, ready = {0};
    int kind;
    unsigned long long first, step;
    PyObject *result = NULL;

    if (!PyArg_ParseTuple(args, "iKKy*w*|y*", &kind, &first, &step, &in, &out, &ready))
        return NULL;
    if (kind < PLAIN || kind > PLAIN64BE) {
        PyErr_Format(PyExc_ValueError, "IV layout %d is not known", kind);
    } else if (check_buffers(self, &in, &out, &ready)) {
        iv_source ivs = {(layout)kind, first, step, ready.buf};
        result = run_unlocked(self, encrypting, &ivs, &in, &out);
    }
    PyBuffer_Release(&in);
    PyBuffer_Release(&out);
    if (ready.obj != NULL)
        PyBuffer_Release(&ready);
    return result;
}

static PyObject *Cipher_encrypt(PyObject *self, PyObject *args)
{
    return turn_buffers((Cipher *)self, args, 1);
}

static PyObject *Cipher_decrypt(PyObject *self, PyObject *args)
{
    return turn_buffers((Cipher *)self, args, 0);
}

static int find_all(Cipher *self, const char *cipher, const char *iv_cipher)
{
    size_t size = (size_t)self->key.len;
    if (self->mode->second_key) {
        if (size % 2)
            return 0;
        size /= 2;
        if (!find(&self->tweak, cipher, "ECB", size))
            return 0;
    }
    if (self->iv_key.buf != NULL && !find(&self->iv, iv_cipher, "ECB", (size_t)self->iv_key.len))
        return 0;
    return find(&self->forward, cipher, self->mode->forward, size) &&
           find(&self->backward, cipher, self->mode->backward, size);
}

/* Whether OpenSSL takes the keys: some it refuses, as those of XTS with two equal halves. */
static int try_keys(const Cipher *self, worker *w)
{
    int taken = 1;
    for (int encrypting = 0; encrypting < 2; encrypting++) {
        taken &= rekey_worker(self, w, encrypting, self->key.buf, self->iv_key.buf);
        taken &= rekey_worker(self, w, encrypting, BLANK, BLANK);
    }
    return taken;
}

/* The first worker; NULL with an exception set, where OpenSSL lacks the cipher or a key does not
 * fit. OpenSSL's own errors are dropped. */
static worker *first_worker(Cipher *self, const char *cipher, const char *iv_cipher)
{
    worker *w = NULL;
    ERR_set_mark();
    if (find_all(self, cipher, iv_cipher) && (w = new_worker(self)) != NULL &&
        !try_keys(self, w)) {
        free_worker(w, worker_size(self));
        w = NULL;
    }
    ERR_pop_to_mark();
    if (w == NULL && !PyErr_Occurred())
        PyErr_Format(PyExc_LookupError, "OpenSSL has no %s in mode %s for a key of %zd bytes",
                     cipher, self->mode->name, self->key.len);
    return w;
}

static int set_up(Cipher *self, const char *mode_name, const char *cipher, Py_ssize_t sector_size,
                  const char *iv_cipher)
{
    self->mode = find_mode(mode_name);
    if (self->mode == NULL || sector_size < BLOCK || sector_size > SECTOR_MAX ||
        sector_size % BLOCK) {
        PyErr_Format(PyExc_ValueError, "mode %s, sector size %zd: not both known", mode_name,
                     sector_size);
        return 0;
    }
    self->sector_size = (size_t)sector_size;
    self->idle = first_worker(self, cipher, iv_cipher);
    return self->idle != NULL;
}

static void release_keys(Py_buffer *key, Py_buffer *iv_key)
{
    PyBuffer_Release(key);
    if (iv_key->obj != NULL)
        PyBuffer_Release(iv_key);
}

static PyObject *Cipher_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    Py_buffer key = {0}, iv_key = {0};
    const char *mode_name, *cipher, *iv_cipher = "";
    Py_ssize_t sector_size;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Cipher *self;

    if (keywords != NULL && PyDict_Size(keywords) != 0) {
        PyErr_SetString(PyExc_TypeError, "arguments are positional");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "ssny*|sy*", &mode_name, &cipher, &sector_size, &key,
                          &iv_cipher, &iv_key))
        return NULL;
    self = (Cipher *)allocate(type, 0);
    if (self == NULL) {
        release_keys(&key, &iv_key);
        return NULL;
    }
    self->key = key;
    self->iv_key = iv_key;
    if (!set_up(self, mode_name, cipher, sector_size, iv_cipher)) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void Cipher_dealloc(PyObject *object)
{
    Cipher *self = (Cipher *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    while (self->idle != NULL) {
        worker *w = self->idle;
        self->idle = w->next;
        free_worker(w, worker_size(self));
    }
    EVP_CIPHER_free(self->forward.fetched);
    EVP_CIPHER_free(self->backward.fetched);
    EVP_CIPHER_free(self->tweak.fetched);
    EVP_CIPHER_free(self->iv.fetched);
    release_keys(&self->key, &self->iv_key);
    release(object);
    Py_DECREF(type);
}

static PyMethodDef cipher_methods[] = {
    {"encrypt", Cipher_encrypt, METH_VARARGS,
     "encrypt(layout, first, step, data, out[, ivs])\n\nEncrypt whole sectors into out."},
    {"decrypt", Cipher_decrypt, METH_VARARGS,
     "decrypt(layout, first, step, data, out[, ivs])\n\nDecrypt whole sectors into out."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot cipher_slots[] = {
    {Py_tp_doc, "Cipher(mode, cipher, sector_size, key[, iv_cipher, iv_key])\n\n"
                "A mode of a block cipher of 16-byte blocks, over runs of sectors. The keys are "
                "read from the caller's memory at every call."},
    {Py_tp_new, Cipher_new},
    {Py_tp_dealloc, Cipher_dealloc},
    {Py_tp_methods, cipher_methods},
    {0, NULL},
};

static PyType_Spec cipher_spec = {
    .name = "luksmeta.sector._native.Cipher",
    .basicsize = sizeof(Cipher),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = cipher_slots,
};

/* ---- the module ---- */

static PyObject *digest(PyObject *module, PyObject *args)
{
    const char *name;
    Py_buffer data = {0}, out = {0};
    EVP_MD *hash;
    int done = 0;

    (void)module;
    if (!PyArg_ParseTuple(args, "sy*w*", &name, &data, &out))
        return NULL;
    ERR_set_mark();
    hash = EVP_MD_fetch(NULL, name, NULL);
    if (hash == NULL)
        PyErr_Format(PyExc_LookupError, "OpenSSL has no hash %s", name);
    else if (EVP_MD_get_size(hash) != out.len)
        PyErr_Format(PyExc_ValueError, "out has %zd bytes, a digest by %s %d", out.len, name,
                     EVP_MD_get_size(hash));
    else if (!(done = EVP_Digest(data.buf, (size_t)data.len, out.buf, NULL, hash, NULL)))
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL failed in the middle of a digest");
    ERR_pop_to_mark();
    EVP_MD_free(hash);
    PyBuffer_Release(&data);
    PyBuffer_Release(&out);
    if (!done)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"digest", digest, METH_VARARGS,
     "digest(name, data, out)\n\nFill out with the digest of data; nothing else holds it."},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &cipher_spec, NULL);
    int failed = type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0;
    Py_XDECREF(type);
    return failed || PyModule_AddIntConstant(module, "PLAIN", PLAIN) < 0 ||
                   PyModule_AddIntConstant(module, "PLAIN64", PLAIN64) < 0 ||
                   PyModule_AddIntConstant(module, "PLAIN64BE", PLAIN64BE) < 0 ||
                   PyModule_AddStringConstant(module, "OPENSSL",
                                              OpenSSL_version(OPENSSL_VERSION)) < 0
               ? -1
               : 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)execute},
    {0, NULL},
};

static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "Runs of sectors through OpenSSL's ciphers, with the interpreter's lock released.",
    .m_methods = module_methods,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module_definition);
}
