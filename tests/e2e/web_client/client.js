// Stands in for IDM's end-user page, a program of its own that is not ours to keep here. What it does on the wire, and what
// of an answer it looks at, is that page's, measured; its faults are as well. How it looks is not.
'use strict';

const WORDS = {
    sent: 'An email has been sent to your inbox with instructions on how to reset your password.',
    done: 'Your password has been reset.',
    failed: 'Error resetting your password',
    again: 'Try resetting your password again',
    secure: 'Your password is secure!',
    policy: {
        MIN_LENGTH: ({minLength}) => `Must be ${minLength} characters long`,
        AT_LEAST_X_CAPITAL_LETTERS: ({numCaps}) => `Must have at least ${numCaps} capital letter(s)`,
        AT_LEAST_X_NUMBERS: ({numNums}) => `Must have at least ${numNums} number(s)`,
    },
};
const ANONYMOUS = {
    'X-OpenIDM-NoSession': 'true',
    'X-OpenIDM-Password': 'anonymous',
    'X-OpenIDM-Username': 'anonymous',
};
const STAGES = ['captcha', 'emailvalidation', 'userquery', 'resetstage', 'kbasecurityanswerverificationstage'];
const app = document.getElementById('app');

/** What was answered, with whatever of its body is no JSON as text. Fails as the page's own library does. */
function ask(method, path, {headers = {}, body, patience = 0} = {}) {
    return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        request.open(method, '/openidm/' + path);
        request.timeout = patience;
        request.setRequestHeader('Accept', 'application/json, text/plain, */*');
        if (body !== undefined) request.setRequestHeader('Content-Type', 'application/json');
        for (const [name, value] of Object.entries({...ANONYMOUS, ...headers})) request.setRequestHeader(name, value);
        request.onload = () => {
            let data = request.responseText;
            try {
                data = JSON.parse(data);
            } catch { /* it stays a text */ }
            if (request.status >= 200 && request.status < 300) resolve(data);
            else reject({response: {data}});
        };
        request.onerror = request.ontimeout = () => reject({});
        request.send(body === undefined ? null : JSON.stringify(body));
    });
}

function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
}

function show(...children) {
    app.replaceChildren(...children, element('p', {}, element('a', {href: '#/login'}, 'Sign in')));
}

/** A server's words as HTML, which is one of its faults. */
function notify(text) {
    const note = element('div', {className: 'alert alert-danger', innerHTML: text ?? ''});
    document.querySelector('.notifications').append(note);
    setTimeout(() => note.remove(), 4000);
}

/** Enter on the button is a click, and a key that comes up in the form. */
function form(label, save, ...fields) {
    const button = element('button', {type: 'button', className: 'btn-primary', onclick: save}, label);
    const made = element('form', {onsubmit: (event) => event.preventDefault()}, ...fields, button);
    made.addEventListener('keyup', (event) => event.key === 'Enter' && save());
    return made;
}

function input(name, type, label) {
    return element('input', {name, type, placeholder: label, ariaLabel: label});
}

class Reset {
    details = null;
    choosing = null;

    start(parameters) {
        if (parameters) {
            this.advance(this.parse(parameters));
            return;
        }
        show();
        ask('GET', 'selfservice/reset', {headers: {'cache-control': 'no-cache'}})
            .then((answer) => this.at(answer.type, answer))
            .catch((error) => notify(error.response.data.message));
    }

    parse(parameters) {
        if (parameters.match('returnParams')) {
            return {returnParams: decodeURIComponent(parameters).split('returnParams=').pop()};
        }
        const pairs = '"' + parameters.slice(1).replace(/&/g, '","').replace(/=/g, '":"');
        return JSON.parse(`{${decodeURI(pairs) + '"'}}`);
    }

    advance(input) {
        const body = {input: {}};
        if (this.details?.token) body.token = this.details.token;
        if (input.token && input.code) body.token = input.token;
        body.input = input;
        const headers = {'X-Requested-With': 'XMLHttpRequest', 'cache-control': 'no-cache'};
        ask('POST', 'selfservice/reset?_action=submitRequirements', {headers, body})
            .then((answer) => this.at(answer.type, answer))
            .catch((error) => this.at('resetStage', {error: error.response.data.message}));
    }

    at(type, details) {
        this.details = details;
        if (type === 'parameters') {
            show();
            this.advance({});
            return;
        }
        const stage = String(type).toLowerCase();
        if (stage === 'resetstage') this.reset(details);
        else {
            this.choosing = null;
            if (!STAGES.includes(stage)) this.generic(details.requirements);
            else this[stage](details.requirements);
        }
    }

    userquery() {
        const mail = input('mail', 'text', 'Email address');
        show(form('Retrieve Account', () => this.advance({queryFilter: `mail eq "${mail.value}"`}), mail));
        mail.focus();
    }

    emailvalidation() {
        show(element('div', {className: 'alert alert-info'}, WORDS.sent));
    }

    kbasecurityanswerverificationstage({properties, required}) {
        const answers = required.map((name) => input(name, 'text', ''));
        const labelled = answers.map((answer) => {
            const {systemQuestion, userQuestion} = properties[answer.name];
            return element('label', {}, systemQuestion ? systemQuestion.en : userQuestion, answer);
        });
        const save = () => {
            // The page's own check is done in a later turn.
            const given = Object.fromEntries(answers.map((answer) => [answer.name, answer.value.trim()]));
            if (Object.values(given).every((answer) => answer !== '')) setTimeout(() => this.advance(given));
        };
        show(form('Verify Answers', save, ...labelled));
    }

    captcha({properties}) {
        show(element('div', {id: 'recaptchaContainer'}));
        const sitekey = properties.response.recaptchaSiteKey;
        if (!sitekey) {
            notify('ReCaptcha configured improperly - contact your administrator.');
            return;
        }
        const callback = (response) => this.advance({response, 'g-recaptcha-response': response});
        setTimeout(() => {
            if (window.grecaptcha) window.grecaptcha.render('recaptchaContainer', {sitekey, callback});
            else this.captcha({properties});
        }, 500);
    }

    generic(requirements) {
        const fields = Object.keys(requirements?.properties ?? {}).map((name) => input(name, 'text', name));
        const read = () => Object.fromEntries(fields.map((field) => [field.name, field.value.trim()]));
        show(form('Submit', () => this.advance(read()), ...fields));
    }

    reset(details) {
        if (details.tag === 'end') {
            show(element('div', {className: 'alert alert-info'}, WORDS.done));
        } else if (typeof details.error === 'string') {
            const again = element('a', {href: '#/passwordreset'}, WORDS.again);
            again.onclick = (event) => {
                event.preventDefault();
                location.hash = location.hash.slice(0, location.hash.lastIndexOf('/') + 1);
                location.reload();
            };
            show(element('div', {className: 'alert alert-danger'}, element('b', {}, WORDS.failed), element('p', {}, details.error)), again);
        } else if (this.choosing) {
            const failed = details.requirements?.error?.detail?.failedPolicyRequirements;
            const own = failed?.find(({property}) => property === 'password');
            if (own?.policyRequirements) {
                this.choosing.refused(own.policyRequirements.map(({policyRequirement}) => policyRequirement));
            }
            return;
        } else {
            this.choosing = new Choosing((password) => this.advance({password}));
            return;
        }
        this.choosing = null;
    }
}

/** The form of the new password, which asks the policy while it is filled in. */
class Choosing {
    policies = [];
    failed = null;
    /** Once a reset was refused, that is all it shows. */
    last = null;

    constructor(save) {
        const password = input('password', 'password', 'New password');
        this.panel = element('div', {});
        show(form('Change Password', () => save(password.value), password, this.panel));
        let pause;
        password.oninput = () => {
            clearTimeout(pause);
            pause = setTimeout(() => this.validate(password.value), 200);
        };
        pause = setTimeout(() => this.validate(password.value), 200);
        ask('GET', 'policy/selfservice/reset', {headers: {'cache-control': 'no-cache'}})
            .then(({properties}) => {
                const own = properties.filter(({name}) => name.match('password'))[0];
                const required = own?.policyRequirements ?? [];
                let policies = own?.policies ?? [];
                const drop = (name) => { policies = policies.filter(({policyRequirements: [first]}) => first !== name); };
                if (required.includes('REQUIRED') && required.includes('MIN_LENGTH')) drop('REQUIRED');
                for (const name of ['VALID_TYPE', 'CANNOT_CONTAIN_OTHERS']) if (required.includes(name)) drop(name);
                this.policies = policies;
                this.draw();
            })
            .catch(() => {
                notify('common.policyValidationMessages.policyServiceError.selfservice/reset');
                location.hash = '#/login';
            });
    }

    validate(password) {
        ask('POST', 'policy/selfservice/reset/?_action=validateObject', {headers: {'cache-control': 'no-cache'}, body: {password}})
            .then(({failedPolicyRequirements = []}) => {
                const own = failedPolicyRequirements.filter(({property}) => property.match('password'));
                this.failed = own.map(({policyRequirements: [first]}) => first.policyRequirement);
                this.draw();
            })
            .catch(() => notify(''));
    }

    refused(names) {
        this.last = names;
        this.draw();
    }

    draw() {
        const failures = this.last ?? this.failed;
        if (failures === null) return;
        if (failures.length === 0) {
            this.panel.replaceChildren(element('div', {className: 'alert alert-success'}, WORDS.secure));
            return;
        }
        const lines = this.policies.map(({policyRequirements: [name], params}) => {
            const className = failures.includes(name) ? '' : 'fr-valid';
            return element('li', {className}, WORDS.policy[name]?.(params) ?? name);
        });
        this.panel.replaceChildren(element('ul', {}, ...lines));
    }
}

function login() {
    show(form('Sign In', () => {}, input('username', 'text', 'Username'), input('password', 'password', 'Password')));
    if (features.some(({name, enabled, endpoints}) => name === 'passwordReset' && enabled && endpoints.includes('selfservice/reset'))) {
        app.append(element('a', {href: '#/passwordreset'}, 'Forgot password?'));
    }
}

function route() {
    const path = decodeURIComponent(location.hash.replace(/^#\/?/, '/'));
    const [, parameters] = path.match(/^\/passwordreset(?:\/([^/]*))?$/i) ?? [];
    if (/^\/passwordreset/i.test(path)) new Reset().start(parameters);
    else login();
}

let features = [];
Promise.all([ask('GET', 'info/uiconfig', {patience: 5000}), ask('GET', 'info/features?_queryFilter=true', {patience: 5000})])
    .then(([, {result}]) => { features = result; })
    .catch(() => {})
    .then(() => {
        window.onhashchange = route;
        route();
    });
