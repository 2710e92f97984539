// The AWS SDK for JavaScript v2 against a server, step by step; prints a line of JSON per step.
//   node kms.js ENDPOINT REGION OTHER-REGION     with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
const assert = require('node:assert/strict');
const KMS = require('aws-sdk/clients/kms');

const [endpoint, region, otherRegion] = process.argv.slice(2);
const kms = new KMS({ endpoint, region });
const there = new KMS({ endpoint, region: otherRegion });
const context = { app: 'shop', naïve: 'ключ' };
const state = {};

async function refused(call, code, message) {
  const error = await call.promise().then(() => assert.fail('was answered'), (problem) => problem);
  assert.equal(error.code, code, `${error.code}: ${error.message}`);
  if (message !== undefined) assert.equal(error.message, message);
  assert.equal(error.statusCode, 400);
  assert.ok(error.requestId, 'x-amzn-RequestId');
}

const steps = {
  async 'a key'() {
    const { KeyMetadata: key } = await kms.createKey({ Description: 'from JavaScript v2' }).promise();
    assert.ok(key.CreationDate instanceof Date && Math.abs(key.CreationDate - Date.now()) < 600_000);
    state.key = key;
  },

  async 'encrypted and decrypted'() {
    const Plaintext = Buffer.alloc(4096, 7);
    const made = await kms.encrypt({ KeyId: state.key.KeyId, Plaintext, EncryptionContext: context }).promise();
    state.blob = made.CiphertextBlob;
    const opened = await kms.decrypt({ CiphertextBlob: state.blob, EncryptionContext: context }).promise();
    assert.deepEqual(opened.Plaintext, Plaintext);
    assert.equal(opened.KeyId, state.key.Arn);
  },

  async 'pages'() {
    for (let n = 0; n < 3; n += 1) {
      await kms.createAlias({ AliasName: `alias/v2-${state.key.KeyId}-${n}`, TargetKeyId: state.key.KeyId }).promise();
    }
    let [found, Marker] = [0, undefined];
    do {
      const page = await kms.listAliases({ KeyId: state.key.KeyId, Limit: 2, Marker }).promise();
      found += page.Aliases.length;
      Marker = page.NextMarker;
    } while (Marker);
    assert.equal(found, 3);
  },

  async 'refusals'() {
    const { KeyMetadata: other } = await kms.createKey({}).promise();
    await refused(kms.decrypt({ CiphertextBlob: state.blob }), 'InvalidCiphertextException', null);
    const named = { CiphertextBlob: state.blob, KeyId: other.KeyId, EncryptionContext: context };
    await refused(kms.decrypt(named), 'IncorrectKeyException');
    const missing = `Key '${state.key.Arn.replace(region, otherRegion)}' does not exist`;
    await refused(there.describeKey({ KeyId: state.key.KeyId }), 'NotFoundException', missing);
    await kms.disableKey({ KeyId: state.key.KeyId }).promise();
    const disabled = kms.decrypt({ CiphertextBlob: state.blob, EncryptionContext: context });
    await refused(disabled, 'DisabledException', `${state.key.Arn} is disabled.`);
  },
};

(async () => {
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
})();
