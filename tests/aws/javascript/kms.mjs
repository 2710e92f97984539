// The AWS SDK for JavaScript v3 against a server, step by step; prints a line of JSON per step.
//   node kms.mjs ENDPOINT REGION OTHER-REGION     with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
import assert from 'node:assert/strict';
import {
  CreateAliasCommand, CreateKeyCommand, DecryptCommand, DescribeKeyCommand, DisabledException, DisableKeyCommand,
  EncryptCommand, GenerateDataKeyCommand, IncorrectKeyException, InvalidCiphertextException, KMSClient,
  KMSServiceException, NotFoundException, RotateKeyOnDemandCommand, SignCommand, TagResourceCommand,
  UnsupportedOperationException, paginateListAliases, paginateListKeyRotations, paginateListKeys,
  paginateListResourceTags,
} from '@aws-sdk/client-kms';

const [endpoint, region, otherRegion] = process.argv.slice(2);
const kms = new KMSClient({ endpoint, region });
const there = new KMSClient({ endpoint, region: otherRegion });
const context = { app: 'shop', naïve: 'ключ' };
const state = {};

async function refused(call, kind, message) {
  const error = await call.then(() => assert.fail('was answered'), (problem) => problem);
  assert.ok(error instanceof kind && error instanceof KMSServiceException, `${error.name}: ${error.message}`);
  if (message !== undefined) assert.equal(error.message, message);
  assert.ok(error.$metadata.requestId);
  return error.name;
}

async function all(paginate, input, list, pageSize) {
  const entries = [];
  let pages = 0;
  for await (const page of paginate({ client: kms, pageSize }, input)) {
    pages += 1;
    assert.ok(page[list].length <= pageSize);
    entries.push(...page[list]);
  }
  return { entries, pages };
}

const steps = {
  async 'a key'() {
    const { KeyMetadata: key } = await kms.send(new CreateKeyCommand({ Description: 'from JavaScript' }));
    assert.ok(key.CreationDate instanceof Date && Math.abs(key.CreationDate - Date.now()) < 600_000);
    assert.equal(key.Enabled, true);
    assert.deepEqual(key.EncryptionAlgorithms, ['SYMMETRIC_DEFAULT']);
    state.key = key;
  },

  async 'encrypted and decrypted'() {
    const Plaintext = new Uint8Array(4096).fill(7);
    const made = await kms.send(new EncryptCommand({ KeyId: state.key.KeyId, Plaintext, EncryptionContext: context }));
    state.blob = made.CiphertextBlob;
    const opened = await kms.send(new DecryptCommand({ CiphertextBlob: state.blob, EncryptionContext: context }));
    assert.deepEqual(opened.Plaintext, Plaintext);
    assert.equal(opened.KeyId, state.key.Arn);
    assert.match(opened.KeyMaterialId, /^[0-9a-f]{64}$/);
    const dataKey = await kms.send(new GenerateDataKeyCommand({ KeyId: state.key.Arn, NumberOfBytes: 5 }));
    assert.equal(dataKey.Plaintext.length, 5);
  },

  async 'paginators'() {
    for (let n = 0; n < 4; n += 1) {
      await kms.send(new CreateAliasCommand({ AliasName: `alias/js-${state.key.KeyId}-${n}`, TargetKeyId: state.key.KeyId }));
      await kms.send(new RotateKeyOnDemandCommand({ KeyId: state.key.KeyId }));
      await kms.send(new TagResourceCommand({ KeyId: state.key.KeyId, Tags: [{ TagKey: `t${n}`, TagValue: '' }] }));
    }
    const one = { KeyId: state.key.KeyId };
    for (const size of [1, 3]) {
      for (const [paginate, list] of [[paginateListAliases, 'Aliases'], [paginateListKeyRotations, 'Rotations'],
        [paginateListResourceTags, 'Tags']]) {
        const { entries, pages } = await all(paginate, { ...one }, list, size);
        assert.equal(entries.length, 4, list);
        assert.equal(pages, Math.ceil(4 / size), list);
      }
    }
    const { entries } = await all(paginateListKeys, {}, 'Keys', 1);
    assert.equal(new Set(entries.map((entry) => entry.KeyId)).size, entries.length);
    assert.ok(entries.some((entry) => entry.KeyArn === state.key.Arn));
  },

  async 'refusals are its own classes'() {
    const { KeyMetadata: other } = await kms.send(new CreateKeyCommand({}));
    const decrypt = (more) => kms.send(new DecryptCommand({ CiphertextBlob: state.blob, ...more }));
    await refused(decrypt({}), InvalidCiphertextException);
    await refused(decrypt({ KeyId: other.KeyId, EncryptionContext: context }), IncorrectKeyException);
    const missing = there.send(new DescribeKeyCommand({ KeyId: state.key.KeyId }));
    await refused(missing, NotFoundException, `Key '${state.key.Arn.replace(region, otherRegion)}' does not exist`);
    await kms.send(new DisableKeyCommand({ KeyId: state.key.KeyId }));
    await refused(decrypt({ EncryptionContext: context }), DisabledException, `${state.key.Arn} is disabled.`);
    const sign = kms.send(new SignCommand({ KeyId: state.key.KeyId, Message: state.blob, SigningAlgorithm: 'ECDSA_SHA_256' }));
    await refused(sign, UnsupportedOperationException, 'Sign is not supported yet.');
  },
};

for (const [step, run] of Object.entries(steps)) {
  try {
    await run();
    console.log(JSON.stringify({ step, done: true }));
  } catch (error) {
    console.log(JSON.stringify({ step, done: false, answer: `${error.stack ?? error}` }));
    process.exitCode = 1;
    break;
  }
}
